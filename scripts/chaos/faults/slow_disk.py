"""Every sync of a node takes 20 to 200 ms longer for a while."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    node = stage.leader() if stage.random.random() < 0.5 else stage.pick()[0]
    slow_ms = stage.random.randint(20, 200)
    with stage.disk_fault(node, "slow", str(slow_ms)):
        during = stage.hold(1, 4)
    return {"node": node, "slow_ms": slow_ms, "during_s": during}
