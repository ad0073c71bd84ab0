"""The cluster grows to five nodes, loses one to a kill and gets it back, and shrinks to three again."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    new = []
    for _ in range(2):
        new.append(stage.stranger())
        stage.join(new[-1], "add-node", "--id", str(new[-1]))
        stage.tell_clients()
    stage.wait_ready()
    [victim] = stage.pick()
    stage.kill(victim)
    stage.hold(0.3, 1)
    stage.start(victim)
    stage.wait_ready(victim)
    gone = stage.pick(2)
    for node in gone:
        words = ("remove-node", "--id", str(node), "--shrink")
        stage.until(f"node {node} is removed", lambda words=words: stage.command(*words), 60.0)
        stage.leave(node)
    stage.wait_ready()
    return {"new": new, "killed": victim, "gone": gone}
