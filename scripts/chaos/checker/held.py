"""How much is held at once.

Of the leases that are held for certain at an instant, one was granted last. At its grant the others were held already,
for nothing is held before its grant or twice. So what they cost together was within the quota that was in force then:
at some time between the latest `asked` among them and now. A quota that was lowered since does not matter.
"""
from __future__ import annotations

import heapq
import math

from .limits import Bound
from .report import Check
from .world import MS, Lease, World

_SHOWN = 8


def check(world: World) -> Check:
    result = Check("held", "leases held")
    limits = world.limits.of_kind("concurrency")
    by_resource: dict[str, list[Lease]] = {}
    for lease in world.leases.values():
        if lease.told_held < math.inf and lease.resource is not None:
            by_resource.setdefault(lease.resource, []).append(lease)

    judged = {resource for resource, _, _, _ in limits}
    result.looked = sum(len(leases) for resource, leases in by_resource.items() if resource in judged)
    for resource, limit, rule, bound in limits:
        held = [(lease, lease.costs(limit, rule.cost)) for lease in by_resource.get(resource, ())]
        _sweep(world, result, resource, limit, bound, [(lease, cost) for lease, cost in held if cost > 0])

    limits_named = {name for name, _ in world.limits.unsteady}
    result.skipped = len(limits_named)
    result.why_skipped = "resources with a limit whose shape was changed"
    return result


def _sweep(world: World, result: Check, resource: str, limit: str, bound: Bound,
           held: list[tuple[Lease, int]]) -> None:
    # An end comes before a begin at the same time.
    events = [(lease.told_held, 1, nth) for nth, (lease, _) in enumerate(held) if lease.held_until > lease.told_held]
    events += [(lease.held_until, 0, nth) for nth, (lease, _) in enumerate(held)
               if lease.held_until > lease.told_held]
    events.sort()

    now: set[int] = set()
    latest: list[tuple[float, int]] = []
    used, most = 0, 0.0
    for at, begins, nth in events:
        lease, cost = held[nth]
        if not begins:
            now.discard(nth)
            used -= cost
            continue

        now.add(nth)
        used += cost
        heapq.heappush(latest, (-lease.asked, nth))
        while latest[0][1] not in now:
            heapq.heappop(latest)
        quota = bound.quota(-latest[0][0], at)
        most = max(most, used / quota if quota else 0.0)
        if used > quota:
            result.violate(f"{resource} {limit}: {used} are held for certain at {at / MS:.3f} ms, and {quota:g} was "
                           f"the highest quota: {len(now)} leases",
                           *(_shown(*held[one]) for one in sorted(now)[-_SHOWN:]))
    if most:
        world.bind(resource, limit, most, 1)


def _shown(lease: Lease, cost: int) -> str:
    told = next(call for call in lease.calls if call.until == lease.told_held)
    return f"{lease.id} costs {cost}, until {lease.held_until / MS:.3f} ms: {told}"
