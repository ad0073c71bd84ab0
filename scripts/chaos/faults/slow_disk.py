"""Every sync of a node takes 20 to 200 ms longer for a while, or every sync of all nodes up to 800 ms."""
import contextlib

from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    if stage.random.random() < 0.5:
        nodes, slow_ms = stage.ids, stage.random.randint(300, 800)
    else:
        nodes, slow_ms = [stage.leader()], stage.random.randint(20, 200)
    # While disks are slow nobody may have to be elected: a vote is synced, too.
    for node in nodes:
        stage.prepare_disk(node)
    with contextlib.ExitStack() as disks:
        for node in nodes:
            disks.enter_context(stage.disk_fault(node, "slow", str(slow_ms)))
        during = stage.hold(2, 6)
    return {"nodes": nodes, "slow_ms": slow_ms, "during_s": during}
