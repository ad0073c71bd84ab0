"""A sync of a node fails: it must end, with code 1, and never try again. Then it is started again."""
from stage import Stage

_ENDS_WITHIN_S = 20.0


def strike(stage: Stage) -> dict[str, object]:
    node = stage.leader() if stage.random.random() < 0.5 else stage.pick()[0]
    with stage.disk_fault(node, "fail"):
        code = stage.exit_code(node, _ENDS_WITHIN_S)
    stage.require(code == 1, f"node {node} has ended with {code} after a sync failed, not with 1")
    stage.start(node)
    stage.wait_ready(node)
    return {"node": node}
