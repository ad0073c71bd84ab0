"""One node is cut off and rejoins, twenty times in a row, each time before the last has settled."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    node = stage.leader() if stage.random.random() < 0.5 else stage.pick()[0]
    for _ in range(20):
        stage.cut_between([node], [other for other in stage.ids if other != node])
        stage.hold(0.05, 0.5)
        stage.heal()
        stage.hold(0.02, 0.2)
    stage.wait_ready()
    return {"node": node}
