"""The nodes are stopped cleanly and started again, one after another: each makes a checkpoint."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    for node in stage.pick(len(stage.ids)):
        stage.stop(node)
        stage.start(node)
        stage.wait_ready(node)
    return {}
