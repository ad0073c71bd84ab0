"""The round trip between regions becomes longer and shorter again, and what is on its way keeps its order."""
import net
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    usual = net.status(stage.tag)["rtt_ms"]
    far = stage.random.choice((100, 200, 300))
    stage.confirm(net.set_rtt(stage.tag, far)["rtt_ms"] == far, "the round trip is another")
    during = stage.hold(1, 5)
    net.set_rtt(stage.tag, usual)
    return {"rtt_ms": far, "during_s": during}
