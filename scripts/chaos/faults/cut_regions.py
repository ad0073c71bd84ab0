"""All regions are cut off from each other."""
import net
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    regions = list(stage.nodes.plan.region_numbers())
    stage.confirm(net.cut_all(stage.tag)["cut"] == regions, "all regions are cut off")
    away = stage.hold(1, 4)
    stage.heal()
    stage.wait_ready()
    return {"away_s": away}
