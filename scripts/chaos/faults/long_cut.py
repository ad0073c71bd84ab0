"""The leader is cut off for longer than leases live, with callers waiting at its side, and rejoins."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    leader = stage.leader()
    away = stage.part([leader], [node for node in stage.ids if node != leader], 5, 7)
    return {"node": leader, "away_s": away}
