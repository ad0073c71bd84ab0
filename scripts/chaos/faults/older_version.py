"""A node comes back as a version that follows the feature level before, and later as itself."""
from pathlib import Path

from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    older = Path(f"{stage.nodes.binary}-level-1")
    stage.confirm(older.exists(), f"{older} is there: scripts/level-1.sh makes it")
    [node] = stage.pick()
    stage.kill(node)
    stage.start(node, binary=older)
    said = stage.until(f"node {node} has decided", lambda: stage.verdict(node), 30.0)
    stage.hold(0.5, 2)
    if said == "ready":
        stage.kill(node)
    else:
        # The group has risen above what it knows: it has to say so and end.
        code = stage.exit_code(node, 1)
        stage.require(code == 78, f"node {node} of an older version has ended with {code}, not with 78")
    stage.start(node)
    stage.wait_ready(node)
    return {"node": node, "it": said}
