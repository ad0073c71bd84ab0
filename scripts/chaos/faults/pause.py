"""A node stands still for 1 to 10 s and goes on as if nothing had been: its clock, its leases and its votes are old."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    node = stage.leader() if stage.random.random() < 0.6 else stage.pick()[0]
    stage.pause(node)
    still = stage.hold(1, stage.random.choice((2, 4, 10)))
    stage.resume(node)
    stage.wait_ready(node)
    return {"node": node, "still_s": still}
