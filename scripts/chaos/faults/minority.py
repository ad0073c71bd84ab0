"""The leader is cut off from the others, for longer than an election takes, and rejoins."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    leader = stage.leader()
    away = stage.part([leader], [node for node in stage.ids if node != leader], 0.5, 4)
    return {"node": leader, "away_s": away}
