"""A node is killed, whichever it is, and comes back after a while."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    [node] = stage.pick()
    stage.kill(node)
    away = stage.hold(0.05, 3)
    stage.start(node)
    stage.wait_ready(node)
    return {"node": node, "away_s": away}
