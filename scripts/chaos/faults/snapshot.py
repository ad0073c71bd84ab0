"""A node is away until the log of the others is purged, so that it needs a snapshot; the snapshot is broken off again
and again, each time a little later; then the node catches up, and is killed in its next checkpoint."""
from stage import Stage

_BREAKS = 5


def installed(stage: Stage, node: int) -> int:
    return stage.nodes.log_of(node).read_text(errors="replace").count("snapshot installed")


def strike(stage: Stage) -> dict[str, object]:
    node = stage.pick_but_keeper()
    others = [other for other in stage.ids if other != node]
    # The keeper does not purge its log: as the leader it would need no snapshot.
    stage.command("transfer-leader", "--group", next(iter(stage.regions)), "--to", str(others[0]))
    before = installed(stage, node)
    stage.kill(node)
    # Two checkpoints of the leader: its log is purged up to the older one.
    stage.hold(4, 5)
    stage.start(node)
    for turn in range(_BREAKS):
        stage.hold(0.02 * turn, 0.02 * turn + 0.1)
        stage.cut_between([node], others)
        stage.hold(0.2, 0.4)
        if turn == 2:
            # Also by the end of the one who receives it.
            stage.kill(node)
            stage.start(node)
        stage.heal()
    stage.wait_ready(node)
    stage.confirm(installed(stage, node) > before, f"node {node} took a snapshot")
    stage.hold(0, 1.5)
    stage.kill(node)
    stage.start(node)
    stage.wait_ready(node)
    return {"node": node}
