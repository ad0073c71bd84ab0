"""A region is cut off from all others, without a word to anybody."""
import net
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    region = stage.random.choice(list(stage.nodes.plan.region_numbers()))
    stage.confirm(net.cut(stage.tag, [region])["cut"] == [region], f"region {region} is cut off")
    away = stage.hold(1, 6)
    stage.heal()
    stage.wait_ready()
    return {"region": region, "away_s": away}
