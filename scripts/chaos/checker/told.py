"""What clients were told is in the logs."""
from __future__ import annotations

import math

from .logs import Group, Merged
from .report import Check
from .world import Call, Lease, World


def check(world: World, merged: Merged) -> Check:
    result = Check("told", "leases found in a log")
    for lease in world.leases.values():
        group = merged.groups.get(lease.group)
        if group is None or lease.resource in world.limits.deleted:
            result.skipped += 1
            continue
        looked = [look for look in (_granted(result, group, lease), _released(result, group, lease),
                                    _queued(result, group, lease)) if look]
        result.looked += bool(looked)
        result.skipped += not looked
    result.why_skipped = "leases of entries that no dump covers"
    return result


def _granted(result: Check, group: Group, lease: Lease) -> bool:
    """A grant is at the index that was told with it, with its token and its key."""
    if lease.told_held == math.inf:
        return False
    teller = next(call for call in lease.calls if call.until == lease.told_held)
    decision = group.granted.get(lease.id)
    if decision is None:
        index = _index_of_grant(lease)
        if index is None or not group.covers(index, index):
            return False
        result.violate(f"{lease.id} was told held, and the log of {group.name} has no grant of it", teller)
        return True

    key = lease.request.key if lease.request else None
    if lease.token is not None and decision.number != lease.token:
        result.violate(f"{lease.id} was told the token {lease.token}, and the log has {decision.number}", teller,
                       decision)
    elif decision.said is not None and key is not None and decision.said != key:
        result.violate(f"{lease.id} was told to the key {key}, and the log has {decision.said}", teller, decision)
    elif lease.resource is not None and decision.resource != lease.resource:
        result.violate(f"{lease.id} was told to be of {lease.resource}, and the log has another", teller, decision)
    return True


def _index_of_grant(lease: Lease) -> int | None:
    """The index of an acquire or a look that says `held` is that of the grant; that of an extend is its own."""
    told = (call.index for call in lease.calls
            if call.is_ok and call.state == "held" and call.do in ("acquire", "look"))
    return next((index for index in told if index is not None), None)


def _released(result: Check, group: Group, lease: Lease) -> bool:
    released = [call for call in lease.calls if call.do == "release" and call.is_ok and call.state == "released"]
    if not released:
        return False
    decision = group.ended.get(lease.id)
    if decision is None:
        return _release_is_missing(result, group, lease, released[0])
    if decision.said != "released":
        result.violate(f"{lease.id} was told released, and the log has it {decision.said}", released[0], decision)
    elif released[0].refunded is not None and (released[0].refunded or None) != decision.amount:
        result.violate(f"{lease.id} was given something else back than was told", released[0], decision)
    return True


def _release_is_missing(result: Check, group: Group, lease: Lease, released: Call) -> bool:
    """The end of a lease lies between its grant and the answer of any release."""
    granted = group.granted.get(lease.id)
    first = granted.index if granted else _index_of_grant(lease)
    if first is None or released.index is None or not group.covers(first, released.index):
        return False
    result.violate(f"{lease.id} was told released, and the log of {group.name} has no end of it", released,
                   *([granted] if granted else []))
    return True


def _queued(result: Check, group: Group, lease: Lease) -> bool:
    """A key that was told a place has it in the log."""
    if lease.told_waiting == math.inf or lease.request is None:
        return False
    decision = group.queued.get(lease.id)
    if decision is not None:
        if decision.said is not None and lease.request.key is not None and decision.said != lease.request.key:
            teller = next(call for call in lease.calls if call.until == lease.told_waiting)
            result.violate(f"{lease.id} was told to the key {lease.request.key}, and the log has {decision.said}",
                           teller, decision)
        return True

    # Only the first acquire of a key has the index of its place; that of a repetition is its own.
    able = [call for call in lease.request.calls if call.may_have_happened]
    first = min(able, key=lambda call: call.at, default=None)
    if first is None or not first.is_ok or first.state != "waiting" or first.index is None:
        return False
    if len(lease.request.leases) > 1 or not group.covers(first.index, first.index):
        return False
    result.violate(f"{lease.id} was told to wait, and the log of {group.name} has no place of it", first)
    return True
