"""Two nodes of five are killed, the leader mostly among them, and come back one after the other."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    leader = stage.leader()
    others = [node for node in stage.ids if node != leader]
    victims = [leader, stage.random.choice(others)] if stage.random.random() < 0.7 else stage.random.sample(others, 2)
    stage.kill(*victims)
    away = stage.hold(0.5, 3)
    for node in victims:
        stage.start(node)
        stage.wait_ready(node)
    return {"nodes": victims, "away_s": away}
