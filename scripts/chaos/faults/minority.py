"""The leader is cut off from the others, for longer than an election takes, and rejoins."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    leader = stage.leader()
    stage.cut_between([leader], [node for node in stage.ids if node != leader])
    stage.confirm_drops()
    away = stage.hold(0.5, 4)
    stage.heal()
    stage.wait_ready()
    return {"node": leader, "away_s": away}
