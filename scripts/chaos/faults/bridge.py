"""Two nodes do not reach each other, and the third reaches both."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    one, other = stage.pick(2)
    away = stage.part([one], [other], 0.5, 4)
    return {"nodes": [one, other], "away_s": away}
