"""What the answers say of one lease, and of one key: tokens, repetitions, ends."""
from __future__ import annotations

import math
from typing import Iterator

from .report import Check
from .world import ENDED, HELD, MS, REMEMBERED_NS, S, WAITING, Call, Lease, Request, World

# A waiting lease is cancelled 15 s of log time after it was last asked for: by an acquire or a look that was answered.
_KEPT_NS = 14 * S
# An answer that was longer under way may speak of a time long past.
_CALL_MAX_NS = 40 * S


def checks(world: World) -> list[Check]:
    return [_token(world), _once(world), _release(world), _place(world)]


def _token(world: World) -> Check:
    result = Check("token", "grants")
    by_resource: dict[str, list[Lease]] = {}
    for lease in world.leases.values():
        if lease.token is not None and lease.resource is not None:
            by_resource.setdefault(lease.resource, []).append(lease)

    for resource, leases in by_resource.items():
        result.looked += len(leases)
        seen: dict[int, Lease] = {}
        for lease in leases:
            other = seen.setdefault(lease.token or 0, lease)
            if other is not lease:
                result.violate(f"{resource}: two leases have the token {lease.token}", *_tellers(other, lease))
        _rise(result, resource, leases)
    return result


def _rise(result: Check, resource: str, leases: list[Lease]) -> None:
    """A grant that was answered before another lease can have been granted has a lower token."""
    answered = sorted((lease for lease in leases if lease.told_held < math.inf), key=lambda lease: lease.told_held)
    highest: Lease | None = None
    nth = 0
    for lease in sorted(leases, key=lambda lease: lease.asked):
        while nth < len(answered) and answered[nth].told_held < lease.asked:
            if highest is None or (answered[nth].token or 0) > (highest.token or 0):
                highest = answered[nth]
            nth += 1
        if highest is not None and (highest.token or 0) > (lease.token or 0):
            result.violate(f"{resource}: the token {lease.token} of {lease.id} is not above {highest.token}, which "
                           f"was told before", *_tellers(highest, lease))


def _tellers(*leases: Lease) -> Iterator[Call]:
    for lease in leases:
        yield next(call for call in lease.calls if call.token is not None)


def _once(world: World) -> Check:
    result = Check("once", "keys and leases")
    result.looked = len(world.requests) + len(world.leases)
    for request in world.requests.values():
        if len(request.leases) > 1:
            _one_lease(world, result, request, of_place=False)
    of_lease: dict[str, list[Request]] = {}
    for request in world.requests.values():
        for lease in request.leases:
            of_lease.setdefault(lease, []).append(request)
    for name, requests in of_lease.items():
        if len(requests) > 1:
            told = [call for call in world.leases[name].calls if call.do == "acquire" and call.is_ok]
            result.violate(f"{name} belongs to two keys: {requests[0].key} and {requests[1].key}", *told[:4])

    for lease in world.leases.values():
        tokens = {call.token for call in lease.calls if call.token is not None}
        if len(tokens) > 1:
            result.violate(f"{lease.id} has the tokens {sorted(tokens)}", *lease.calls[:6])
        _goes_forward(result, lease)
    return result


def _one_lease(world: World, result: Check, request: Request, of_place: bool) -> None:
    """A key is remembered for as long as its lease lives, and for a minute after: no other lease in that time.

    When the first lease had only been told to wait, it is its place that was lost.
    """
    told = [(call, lease) for lease in request.leases for call in world.leases[lease].calls
            if call.do == "acquire" and call.is_ok and call.subject == request.key]
    told.sort(key=lambda one: one[0].until)
    last: tuple[Call, str] | None = None
    for call, lease in told:
        if last is not None and lease != last[1]:
            is_place = last[0].rank == WAITING
            is_remembered = call.until <= last[0].at + REMEMBERED_NS and call.until - call.at < _CALL_MAX_NS
            if is_remembered and is_place == of_place and request.resource not in world.limits.deleted:
                result.violate(f"{request.resource}: the key {request.key} has two leases, {last[1]} and {lease}",
                               last[0], call)
        if last is None or lease != last[1] or call.at >= last[0].at:
            last = call, lease


def _goes_forward(result: Check, lease: Lease) -> None:
    """A later call does not show an earlier stage, nor another end. Two releases are compared elsewhere."""
    if len(lease.calls) < 2:
        return
    told = [call for call in lease.calls if call.rank is not None]
    furthest: list[Call] = []
    for call in told:
        if not furthest or (call.rank or 0) > (furthest[-1].rank or 0):
            furthest.append(call)
    for call in told:
        before = [one for one in furthest if one.until <= call.at]
        if not before:
            continue
        last = before[-1]
        is_of_release = last.do == "release"
        if (call.rank or 0) < (last.rank or 0) and not is_of_release:
            result.violate(f"{lease.id} is {call.state} after it was {last.state}", last, call)
        elif call.rank == last.rank == ENDED and call.state != last.state and not is_of_release:
            # An acquire of a lease that was rejected may have another code for it.
            if "rejected" not in (call.state, last.state):
                result.violate(f"{lease.id} ended as {last.state}, and then as {call.state}", last, call)


def _release(world: World) -> Check:
    result = Check("release", "releases answered ok")
    for lease in world.leases.values():
        first: Call | None = None
        for call in lease.calls:
            if call.do != "release" or not call.is_ok:
                continue
            result.looked += 1
            if first is None:
                first = call
            elif _said(first) != _said(call):
                result.violate(f"two releases of {lease.id} are answered differently", first, call)
        if first is not None:
            _stays_released(result, lease, first)
    return result


def _said(call: Call) -> tuple[object, ...]:
    def amounts(of: dict[str, int] | None) -> object:
        return None if of is None else sorted(of.items())

    return call.state, amounts(call.refunded), amounts(call.debited)


def _stays_released(result: Check, lease: Lease, first: Call) -> None:
    for call in lease.calls:
        if call.at < first.until or call.rank is None or (call.do == "release" and call.is_ok):
            continue
        if call.rank < ENDED or (call.outcome == "refused" or call.do == "look") and call.state != first.state:
            result.violate(f"{lease.id} is {call.state} after a release said {first.state}", first, call)


def _place(world: World) -> Check:
    result = Check("place", "leases and places")
    for request in world.requests.values():
        if len(request.leases) > 1:
            _one_lease(world, result, request, of_place=True)
    for lease in world.leases.values():
        if lease.resource not in world.limits.deleted:
            result.looked += 1
            _kept(world, result, lease)
    return result


def _kept(world: World, result: Check, lease: Lease) -> None:
    """Nobody loses what was acknowledged: a lease before its time, a place before 15 s of silence."""
    extends = [call for call in lease.calls if call.do == "extend" and call.may_have_happened]
    releases = [call.at for call in lease.calls if call.do == "release" and call.may_have_happened]
    given_up = min(releases, default=math.inf)
    # A caller whose call broke off may be taken to be gone.
    may_lapse = any(call.outcome == "unknown" and call.do in ("acquire", "look") for call in lease.calls)
    changes = world.limits.changes.get(lease.resource or "", [])
    alive: Call | None = None
    held: tuple[float, Call] | None = None
    place: tuple[float, Call] | None = None

    for call in lease.calls:
        if call.outcome == "unknown":
            continue
        if call.rank in (WAITING, HELD) and call.is_ok:
            if alive is None or call.at > alive.at:
                alive = call
            if call.rank == HELD:
                until = lease.deadline(call, extends, world.limits, world.margin_ns)
                held = max(held or (until, call), (until, call), key=lambda one: one[0])
            else:
                until = call.at + _KEPT_NS
                place = max(place or (until, call), (until, call), key=lambda one: one[0])
            continue

        if call.code == "lease-not-found":
            if alive is not None and call.until <= alive.at + REMEMBERED_NS:
                result.violate(f"{lease.id} is not found, though it was there", alive, call)
            continue
        lost = _lost(call, given_up, may_lapse, len(changes) == 1)
        if held is None and place is not None and lost and call.state in ("expired", "lapsed"):
            # It may have been granted since, and have had its time, without its caller hearing of it.
            ttl_ms = world.limits.ttl_ms_min(lease.resource, lease.request.ttl_ms if lease.request else 0)
            lost = call.state == "expired" and not extends and call.until < place[1].at + ttl_ms * MS
        if held is not None and lost and call.until <= held[0]:
            result.violate(f"{lease.id} is {call.state} {(held[0] - call.until) / MS:.0f} ms before its time was over",
                           held[1], call)
        elif held is None and place is not None and lost and call.until <= place[0]:
            result.violate(f"the place of {lease.id} is {call.state}, though it was asked for", place[1], call)


def _lost(call: Call, given_up: float, may_lapse: bool, is_unchanged: bool) -> bool:
    """Whether an answer tells an end that its caller did not bring about."""
    if call.state in ("released", "cancelled"):
        return given_up >= call.until
    if call.state == "lapsed":
        return not may_lapse
    return call.state == "expired" or call.state == "rejected" and is_unchanged
