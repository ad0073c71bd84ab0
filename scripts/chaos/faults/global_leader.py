"""The leader of the global group is killed, and comes back after a while."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    leader = stage.leader("global")
    stage.kill(leader)
    away = stage.hold(0.5, 4)
    stage.start(leader)
    stage.wait_ready(leader)
    return {"node": leader, "away_s": away}
