"""The queue, and the times that answers tell."""
from __future__ import annotations

import math

from .report import Check
from .world import MS, Call, Lease, World

# A wait that is over by this much too early is no matter of rounding.
_EARLY_MS = 5
# Both answers round down.
_ROUNDED_MS = 2
# Answers that one is compared with: those just before it.
_COMPARED_MAX = 16


def checks(world: World) -> list[Check]:
    return [_order(world), _expiry(world), _waits(world)]


def _order(world: World) -> Check:
    """First come, first served, inside a priority; and nothing of a lower one before it.

    A place that was told before another acquire began is before it in the queue, and gets the lower token.
    """
    result = Check("order", "places told")
    by_resource: dict[str, list[Lease]] = {}
    for lease in world.leases.values():
        if lease.resource is not None and lease.resource not in world.limits.deleted:
            by_resource.setdefault(lease.resource, []).append(lease)

    for resource, leases in by_resource.items():
        places = [lease for lease in leases if lease.told_waiting < math.inf]
        if world.limits.passes_over(resource):
            result.skipped += len(places)
            continue
        result.looked += len(places)
        _in_order(result, resource, places, leases)
    result.why_skipped = "places that may be passed over"
    return result


def _in_order(result: Check, resource: str, places: list[Lease], leases: list[Lease]) -> None:
    # By priority: the place with the highest token, and the one that waited for longest, of those told so far.
    last_granted: dict[int, Lease] = {}
    last_waiting: dict[int, Lease] = {}
    places = sorted(places, key=lambda lease: lease.told_waiting)
    nth = 0
    later = [(lease.request.began, lease) for lease in leases if lease.request and lease.token is not None]
    for began, lease in sorted(later, key=lambda one: one[0]):
        while nth < len(places) and places[nth].told_waiting <= began:
            place = places[nth]
            nth += 1
            if place.token is not None:
                before = last_granted.setdefault(place.priority, place)
                if place.token > (before.token or 0):
                    last_granted[place.priority] = place
            else:
                before = last_waiting.setdefault(place.priority, place)
                if place.waited > before.waited:
                    last_waiting[place.priority] = place

        for priority, before in last_granted.items():
            if priority <= lease.priority and (before.token or 0) > (lease.token or 0):
                _overtook(result, resource, before, lease)
        for priority, before in last_waiting.items():
            if priority <= lease.priority and before.waited > lease.told_held:
                _overtook(result, resource, before, lease)


def _overtook(result: Check, resource: str, before: Lease, lease: Lease) -> None:
    told = [next(call for call in before.calls if call.until == before.told_waiting), before.calls[-1],
            next(call for call in lease.calls if call.token is not None)]
    result.violate(f"{resource}: {lease.id}, priority {lease.priority}, was granted before {before.id}, priority "
                   f"{before.priority}, which had been waiting before it was asked for", *dict.fromkeys(told))


def _expiry(world: World) -> Check:
    """The time that is left does not grow, unless it is extended.

    What an answer takes between nodes is taken off, so it may say less than was left, by as much as its call took. And
    a new leader counts from the last entry on, so what has passed since then is left once more.
    """
    result = Check("expiry", "times told")
    for lease in world.leases.values():
        told = [call for call in lease.calls if call.left is not None and call.is_ok]
        result.looked += len(told)
        if told and told[0].do != "extend":
            _is_as_asked(world, result, lease, told[0])
        if len(told) < 2:
            continue
        extends = [call for call in lease.calls if call.do == "extend" and call.may_have_happened]
        for nth, later in enumerate(told):
            if later.do != "extend":
                before = [one for one in told[max(0, nth - _COMPARED_MAX):nth] if one.until <= later.at]
                _does_not_grow(world, result, lease, before, later, extends)
    return result


def _is_as_asked(world: World, result: Check, lease: Lease, told: Call) -> None:
    """A lease begins with the time that was asked for. Only what has passed since it was asked for may be missing."""
    if lease.request is None or any(call.do == "extend" for call in lease.calls):
        return
    ttl_ms = world.limits.ttl_ms_min(lease.resource, lease.request.ttl_ms)
    passed = (told.until - lease.request.began + told.until - told.at) / MS
    if (told.left or 0) < ttl_ms - passed - _ROUNDED_MS:
        result.violate(f"{lease.id} was asked for {ttl_ms} ms, and has less", told)


def _does_not_grow(world: World, result: Check, lease: Lease, before: list[Call], later: Call,
                   extends: list[Call]) -> None:
    for call in before:
        if any(extend is not call and extend.at < later.until and extend.decided_by > call.at for extend in extends):
            continue
        taken_off = call.until - call.at
        again = call.until - world.written_since(lease.group, call.until)
        if (later.left or 0) > (call.left or 0) + (taken_off + again) / MS + _ROUNDED_MS:
            result.violate(f"{lease.id} has more time left than it had", call, later)
            return


def _waits(world: World) -> Check:
    """A wait is over when its time is, and not before. How late it is said is a figure."""
    result = Check("waits", "waits that ran out")
    for request in world.requests.values():
        if request.resource in world.limits.deleted:
            continue
        wait_ns = world.limits.wait_ms_min(request.resource, request.wait_ms) * MS
        over = [call for call in request.calls if call.code == "wait-timeout"]
        if len(request.leases) == 1:
            looks = world.leases[request.leases[0]].calls
            over += [call for call in looks if call.do == "look" and call.state == "timed_out"]
        for call in over:
            result.looked += 1
            if call.until < request.began + wait_ns - _EARLY_MS * MS:
                early_ms = (request.began + wait_ns - call.until) / MS
                result.violate(f"{request.resource}: a wait of {wait_ns / MS:.0f} ms was over {early_ms:.0f} ms early",
                               request.calls[0], call)
    return result
