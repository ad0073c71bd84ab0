"""A node is lost with all that it had, and a new one takes its place."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    lost = stage.leader() if stage.random.random() < 0.5 else stage.pick()[0]
    new = stage.stranger()
    stage.kill(lost)
    stage.hold(0.2, 1)
    stage.join(new, "replace-node", "--id", str(lost), "--with", str(new))
    stage.leave(lost)
    stage.wait_ready()
    return {"lost": lost, "new": new}
