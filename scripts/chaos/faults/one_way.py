"""What one node sends does not arrive at another, but all else does. All six ways come in turn."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    ways = [(a, b) for a in stage.ids for b in stage.ids if a != b]
    stage.random.shuffle(ways)
    for way in ways:
        stage.cut(way)
        stage.confirm_drops()
        stage.hold(0.4, 1)
        stage.heal()
        stage.hold(0, 0.3)
    return {"ways": len(ways)}
