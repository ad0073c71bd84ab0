"""All nodes are killed at once, and come back one after another."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    stage.kill(*stage.ids)
    away = stage.hold(0.1, 1.5)
    for node in stage.pick(len(stage.ids)):
        stage.start(node)
        stage.hold(0, 0.3)
    stage.wait_ready()
    return {"away_s": away}
