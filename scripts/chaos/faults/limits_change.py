"""The limits of every resource change each second, up and down."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    for turn in range(3):
        for resource in stage.load.resources:
            usual = {name: limit["quota"] for name, limit in resource.limits.items()}
            factor = stage.random.choice((0.5, 1, 2))
            # Never below what a single caller may ask for.
            limits = {name: {"quota": max(int(quota * factor), resource.load[1])} for name, quota in usual.items()}
            stage.patch(resource, limits if turn < 2 else {name: {"quota": quota} for name, quota in usual.items()})
        stage.hold(0.5, 1)
    return {}
