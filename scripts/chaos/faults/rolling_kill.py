"""The nodes are killed one after another, each as soon as the one before is ready."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    for node in stage.pick(len(stage.ids)):
        stage.kill(node)
        stage.hold(0.05, 0.5)
        stage.start(node)
        stage.wait_ready(node)
    return {}
