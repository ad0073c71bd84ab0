"""The disk of a node fills up to the reserve, and is emptied again."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    [node] = stage.pick()
    disk = stage.nodes.disks[node]
    disk.fill()
    stage.confirm(disk.free_bytes() < 40 << 20, "the disk is full")
    during = stage.hold(1, 4)
    disk.empty()
    return {"node": node, "during_s": during}
