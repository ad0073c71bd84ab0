"""All nodes of a region are killed, and come back after a while."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    region = stage.random.choice(sorted(stage.regions))
    nodes = stage.regions[region]
    stage.kill(*nodes)
    away = stage.hold(0.5, 4)
    stage.start(*nodes)
    stage.wait_ready()
    return {"region": region, "away_s": away}
