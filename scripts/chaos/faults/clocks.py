"""The wall clock of a node jumps an hour, or runs at double rate; its monotonic clock does not."""
from stage import Stage


def strike(stage: Stage) -> dict[str, object]:
    [node] = stage.pick()
    wall = stage.random.choice(("+3600", "-3600", "+0 x2"))
    stage.kill(node)
    stage.start(node, **stage.wall_clock(wall))
    stage.wait_ready(node)
    during = stage.hold(1, 4)
    stage.kill(node)
    stage.start(node)
    stage.wait_ready(node)
    return {"node": node, "wall": wall, "during_s": during}
