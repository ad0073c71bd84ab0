"""A file of one node is damaged while it is down: bits flipped, cut, zeroed, or an old copy put back.

The node must notice: it does not start (exit code 78), or takes what is damaged from the others and says so. What does
not start gets its files back as they were, which is a node that was down for longer."""
import shutil

from damage import KINDS, WAYS, damage
from stage import Stage

_DECIDED_WITHIN_S = 30.0
_REFUSED = 78


def strike(stage: Stage) -> dict[str, object]:
    node = stage.pick_but_keeper()
    data = stage.nodes.data_of(node)
    # An old copy of it, to put back.
    stage.pause(node)
    old, whole = stage.folder / "old", stage.folder / "whole"
    shutil.copytree(data, old)
    stage.resume(node)
    stage.hold(0.5, 1)
    stage.kill(node)
    shutil.copytree(data, whole)
    kind, way = stage.deal("damages", [(kind, way) for kind in KINDS for way in WAYS])
    what = damage(stage.random, data, old, kind, way)
    stage.start(node)
    said = stage.until(f"node {node} has decided", lambda: stage.verdict(node), _DECIDED_WITHIN_S)
    if said == "ended":
        code = stage.exit_code(node, 1)
        stage.require(code == _REFUSED, f"node {node} has ended with {code} with a damaged {kind}, not with {_REFUSED}")
        shutil.rmtree(data)
        shutil.copytree(whole, data)
        stage.start(node)
    stage.wait_ready(node)
    for folder in (old, whole):
        shutil.rmtree(folder)
    stage.confirm(what != "", f"a file of the kind {kind} was damaged")
    return {"node": node, "kind": kind, "way": way, "what": what, "it": said}
