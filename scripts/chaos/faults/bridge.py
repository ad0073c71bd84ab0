"""Two nodes do not reach each other, and the third reaches both."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    one, other = stage.pick(2)
    stage.cut_between([one], [other])
    stage.confirm_drops()
    away = stage.hold(0.5, 4)
    stage.heal()
    stage.wait_ready()
    return {"nodes": [one, other], "away_s": away}
