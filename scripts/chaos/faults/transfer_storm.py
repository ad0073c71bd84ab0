"""Leadership is handed to another node again and again."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    group = next(iter(stage.regions))
    leaders = set()
    for _ in range(8):
        leader = stage.leader()
        leaders.add(leader)
        target = stage.random.choice([node for node in stage.ids if node != leader])
        stage.command("transfer-leader", "--group", group, "--to", str(target))
        stage.hold(0.05, 0.4)
    stage.confirm(len(leaders) > 1, "leadership changed hands")
    return {"leaders": sorted(leaders)}
