"""The leader is cut off, and at that moment a voter is killed and is back at once: who may lead, and since when?"""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    leader = stage.leader()
    others = [node for node in stage.ids if node != leader]
    stage.cut_between([leader], others)
    voter = stage.random.choice(others)
    stage.kill(voter)
    away = stage.hold(0, 0.05)
    stage.start(voter)
    stage.confirm_drops()
    stage.hold(0.5, 2)
    stage.heal()
    stage.wait_ready()
    return {"leader": leader, "voter": voter, "away_s": away}
