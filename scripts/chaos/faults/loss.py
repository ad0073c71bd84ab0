"""Of all packets between nodes 5 to 30 % are lost."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    percent = round(stage.random.uniform(5, 30), 1)
    stage.lan.lose(percent)
    stage.confirm_drops()
    during = stage.hold(2, 6)
    stage.heal()
    return {"percent": percent, "during_s": during}
