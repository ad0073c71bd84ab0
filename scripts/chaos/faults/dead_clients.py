"""Half of the clients die, with all callers that wait or hold; others begin in their place."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    died = stage.kill_clients(2)
    stage.hold(0.5, 2)
    return {"died": died}
