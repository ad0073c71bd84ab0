"""The end of a run: what the product says of its own logs, whether all nodes have the same state, and whether the run
did enough to mean anything.
"""
from __future__ import annotations

import math

from .logs import Merged
from .records import Folder
from .report import Check, Report
from .world import MS, Call, World

_LEAST_OK = 100
_UNKNOWN_SHARE_MAX = 0.05
_BOUND_SHARE_MIN = 0.9


def verify(folder: Folder) -> Check:
    result = Check("verify", "verdicts")
    for file, verdicts in folder.verdicts():
        for verdict in verdicts:
            result.looked += 1
            if verdict.get("breaches", 0):
                shown = [str(breach) for breach in verdict.get("first_breaches", [])[:5]]
                result.violate(f"{file}: {verdict['breaches']} breaches in the group {verdict.get('group')}", *shown)
    return result


def final(folder: Folder) -> Check:
    result = Check("final", "states at the end")
    if folder.final is None:
        return result
    digests = folder.final.get("digests") or {}
    for group, by_node in digests.items():
        result.looked += len(by_node)
        if len(set(by_node.values())) > 1:
            result.violate(f"{group}: the nodes have different states at the end", str(by_node))
    for region, nodes in folder.regions.items():
        missing = [node for node in nodes if str(node) not in digests.get(region, {})]
        if missing:
            result.violate(f"{region}: no state of the nodes {missing} at the end")

    leaders = folder.final.get("leaders") or {}
    for group in sorted({*folder.regions, *digests}):
        result.looked += 1
        leader = leaders.get(group)
        if isinstance(leader, list) and len(leader) == 1:
            leader = leader[0]
        if not isinstance(leader, int):
            result.violate(f"{group}: not one leader at the end: {leader}")

    through = set(folder.final.get("through") or [])
    nodes = {node for nodes in folder.regions.values() for node in nodes}
    result.looked += len(nodes)
    if nodes - through:
        result.violate(f"no acquire and release went through the nodes {sorted(nodes - through)} at the end")
    return result


def count(report: Report, world: World) -> None:
    """What the run did, in figures."""
    calls = world.calls
    report.operations = len(calls)
    report.ok = sum(call.outcome == "ok" for call in calls)
    report.refused = sum(call.outcome == "refused" for call in calls)
    report.unknown = report.operations - report.ok - report.refused
    report.unknown_unresolved = _unresolved(world)
    report.grants = sum(lease.granted < math.inf for lease in world.leases.values())
    report.longest_gap_ms = _longest_gap_ms(calls)
    report.figures["a wait ran out late by at most, ms"] = _latest_ms(world)
    report.figures["an open call was told of its grant after at most, ms"] = _told_after_ms(world)


def _unresolved(world: World) -> int:
    """Unknown outcomes that no later answer about the same key or lease settles. A look has no effect."""
    count = 0
    for request in world.requests.values():
        count += _unsettled(request.calls)
    for lease in world.leases.values():
        count += _unsettled([call for call in lease.calls if call.do != "acquire"])
    by_change: dict[tuple[str, str], list[Call]] = {}
    for call, change in world.changes:
        by_change.setdefault((change.resource, change.key or f"{call.file} {call.n}"), []).append(call)
    return count + sum(map(_unsettled, by_change.values()))


def _unsettled(calls: list[Call]) -> int:
    answered = max((call.at for call in calls if call.outcome != "unknown"), default=-1)
    return sum(call.outcome == "unknown" and call.do != "look" and call.at > answered for call in calls)


def _longest_gap_ms(calls: list[Call]) -> float:
    if not calls:
        return 0.0
    answered = sorted(call.until for call in calls if call.is_ok)
    last = max((call.until for call in calls if call.until < math.inf), default=calls[-1].at)
    times = [min(call.at for call in calls), *answered, last]
    return max(later - earlier for earlier, later in zip(times, times[1:])) / MS if len(times) > 1 else 0.0


def _latest_ms(world: World) -> float:
    late = [call.until - request.began - request.wait_ms * MS for request in world.requests.values()
            for call in request.calls[:1] if call.code == "wait-timeout"]
    return round(max(late, default=0) / MS, 1)


def _told_after_ms(world: World) -> float:
    """From a grant to the answer of a call that was open then, as far as the time that was left says."""
    longest = 0.0
    for lease in world.leases.values():
        ttl_ms = lease.request.ttl_ms if lease.request else None
        told = next((call for call in lease.calls if call.until == lease.told_held), None)
        if told is None or ttl_ms is None or told.left is None or told.do == "extend":
            continue
        longest = max(longest, min(ttl_ms - told.left, (told.until - told.at) / MS))
    return round(longest, 1)


def progress(report: Report, folder: Folder, world: World, merged: Merged) -> None:
    """A run that did little is no good run."""
    weak = report.weak.append
    least = folder.notes.get("least_ok", _LEAST_OK)
    if report.ok < least:
        weak(f"{report.ok} calls were answered ok, and at least {least} should have been")
    if report.unknown_unresolved > _UNKNOWN_SHARE_MAX * report.operations:
        weak(f"{report.unknown_unresolved} of {report.operations} outcomes are unknown and were not settled")
    for fault in folder.faults():
        if not fault.get("confirmed"):
            weak(f"the fault {fault.get('fault')!r} at {fault.get('at', 0) / MS:.3f} ms was not confirmed")
    for resource in folder.notes.get("must_bind") or []:
        most = max((share for (name, _), share in world.most.items() if name == resource), default=0.0)
        if most < _BOUND_SHARE_MIN:
            weak(f"{resource}: at most {most:.0%} of a quota was in use")
    if folder.final is None:
        weak("there is no final.json: nothing is known of the end of the run")
    if not merged.groups:
        weak("there is no decision in any log dump: nothing was compared with a log")
