"""The power of one node, two, or all is cut right after an acknowledgement: what was not synced is gone."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    nodes = stage.pick(stage.random.choice((1, 2, 3, 3)))
    stage.acknowledgement()
    stage.pause(*nodes)
    for node in nodes:
        stage.nodes.disks[node].as_without_power()
    stage.kill(*nodes)
    for node in nodes:
        stage.nodes.disks[node].lose_power()
    stage.start(*nodes)
    stage.wait_ready()
    return {"nodes": nodes}
