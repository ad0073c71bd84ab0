"""The leader is killed, and comes back after a while."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    leader = stage.leader()
    stage.kill(leader)
    away = stage.hold(0.3, 3)
    stage.start(leader)
    stage.wait_ready(leader)
    return {"node": leader, "away_s": away}
