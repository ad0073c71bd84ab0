"""The decisions of the logs, counted anew: from grants, ends and changes of limits, by nothing of the product.

What was granted before a log begins is not known. It is not counted, which is generous; a gap in the logs lets go of
all that was known.
"""
from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from .limits import Change, Limits, Rule
from .logs import Decision, Merged
from .report import Check
from .world import World, cost_of

# How long an ended lease is remembered at least, in microseconds of log time.
_REMEMBERED_US = 60_000_000


@dataclass
class _Checks:
    held: Check
    rate: Check


class _Window:
    """The charges of the last window. One that was made a whole window ago counts no longer."""

    def __init__(self) -> None:
        self._charges: deque[tuple[int, str]] = deque()
        self._units: dict[str, int] = {}
        self._sum = 0

    def grant(self, rule: Rule, lease: str, units: int, at_us: int) -> float:
        self._pass(rule, at_us)
        self._charges.append((at_us, lease))
        self._units[lease] = units
        self._sum += units
        return self._sum

    def give_back(self, rule: Rule, lease: str, units: int, at_us: int) -> None:
        self._pass(rule, at_us)
        if lease in self._units:
            taken = min(units, self._units[lease])
            self._units[lease] -= taken
            self._sum -= taken

    def _pass(self, rule: Rule, now_us: int) -> None:
        width_us = rule.window_ms * 1_000
        while self._charges and self._charges[0][0] + width_us <= now_us:
            _, lease = self._charges.popleft()
            self._sum -= self._units.pop(lease, 0)


class _Bucket:
    """What was admitted beyond the refill, scaled by the window: the most of all spans that end now."""

    def __init__(self) -> None:
        self._excess = 0
        self._at_us = 0

    def grant(self, rule: Rule, lease: str, units: int, at_us: int) -> float:
        self.refill(rule, at_us)
        self._excess += units * rule.window_ms * 1_000
        return self._excess / (rule.window_ms * 1_000)

    def give_back(self, rule: Rule, lease: str, units: int, at_us: int) -> None:
        self.refill(rule, at_us)
        self._excess = max(0, self._excess - units * rule.window_ms * 1_000)

    def refill(self, rule: Rule, now_us: int) -> None:
        passed_us = max(0, now_us - self._at_us)
        self._excess = max(0, self._excess - int(rule.quota) * passed_us)
        self._at_us = max(self._at_us, now_us)


class _Held:
    """What is held."""

    def __init__(self) -> None:
        self._units: dict[str, int] = {}
        self._sum = 0

    def grant(self, lease: str, units: int) -> float:
        self._units[lease] = self._units.get(lease, 0) + units
        self._sum += units
        return self._sum

    def end(self, lease: str) -> None:
        self._sum -= self._units.pop(lease, 0)


@dataclass
class _Resource:
    name: str
    # The most generous limits that can be in force; None when they are not known.
    rules: dict[str, Rule] | None
    counts: dict[str, Any] = field(default_factory=dict)


def checks(world: World, merged: Merged) -> list[Check]:
    both = _Checks(Check("log-held", "grants"), Check("log-rate", "grants"))
    for name, group in sorted(merged.groups.items()):
        for is_from_start, decisions in group.spans():
            _Recount(name, world, both, is_from_start).run(decisions)
    both.held.why_skipped = both.rate.why_skipped = "grants under limits that are not known"
    return [both.held, both.rate, _tokens(merged), _once(merged), _early(world, merged)]


class _Recount:
    """The recount of one span of one log."""

    def __init__(self, group: str, world: World, both: _Checks, is_from_start: bool) -> None:
        self._group, self._world, self._both = group, world, both
        self._is_from_start = is_from_start
        self._resources: dict[str, _Resource] = {}

    def run(self, decisions: list[Decision]) -> None:
        for decision in decisions:
            resource = self._resources.get(decision.resource)
            if resource is None:
                rules = None if self._is_from_start else _most_generous(self._world.limits, decision.resource)
                resource = self._resources[decision.resource] = _Resource(decision.resource, rules)
            if decision.kind == "granted":
                self._grant(resource, decision)
            elif decision.kind == "ended":
                self._end(resource, decision)
            elif decision.kind == "limits_changed":
                _settle(resource, decision.time_us)
                resource.rules = _changed(self._world.limits, resource, decision)
            elif decision.kind == "deleted":
                # Those that are held are forgotten, and what was admitted too.
                resource.counts, resource.rules = {}, None

    def _grant(self, resource: _Resource, decision: Decision) -> None:
        lease = self._world.leases.get(decision.lease)
        if resource.rules is None:
            self._both.held.skipped += 1
            self._both.rate.skipped += 1
            return
        is_held = is_rate = False
        for limit, rule in resource.rules.items():
            if (resource.name, limit) in self._world.limits.unsteady:
                continue
            is_told = lease is not None and lease.charged is not None
            units = lease.costs(limit, rule.cost) if lease and is_told else cost_of(decision.amount, rule.cost)
            count = resource.counts.get(limit)
            if count is None:
                count = resource.counts[limit] = _count_of(rule)
            if rule.kind == "concurrency":
                is_held = True
                used, bound, result = count.grant(decision.lease, units), rule.quota, self._both.held
            else:
                is_rate = True
                used, bound = count.grant(rule, decision.lease, units, decision.time_us), rule.capacity
                result = self._both.rate
            self._world.bind(resource.name, limit, used, bound)
            if units and used > bound:
                result.violate(f"{self._group}: {resource.name} {limit}: {used:g} units after a grant of {units}, and "
                               f"the bound was {bound:g}", decision)
        self._both.held.looked += is_held
        self._both.rate.looked += is_rate

    def _end(self, resource: _Resource, decision: Decision) -> None:
        refunded = decision.amount or {}
        for limit, count in resource.counts.items():
            rule = (resource.rules or {}).get(limit)
            if isinstance(count, _Held):
                count.end(decision.lease)
            elif rule is not None and limit in refunded:
                count.give_back(rule, decision.lease, refunded[limit], decision.time_us)


def _settle(resource: _Resource, at_us: int) -> None:
    """Lets the buckets refill at the rate that ends now."""
    for limit, count in resource.counts.items():
        rule = (resource.rules or {}).get(limit)
        if isinstance(count, _Bucket) and rule is not None:
            count.refill(rule, at_us)


def _count_of(rule: Rule) -> Any:
    if rule.kind == "concurrency":
        return _Held()
    return _Window() if rule.algorithm == "sliding_window" else _Bucket()


def _most_generous(limits: Limits, resource: str) -> dict[str, Rule] | None:
    """All that any change ever allowed: for a log that begins after some of them."""
    rules: dict[str, Rule] | None = None
    for change in limits.changes.get(resource, []):
        rules = _applied(rules, change, at_most=True)
    return rules


def _changed(limits: Limits, resource: _Resource, decision: Decision) -> dict[str, Rule] | None:
    """The limits from a version on: those of the change that was told it, or of any that may have made it.

    A change that changed nothing is told the version that there was. If another one may have made it, either counts.
    """
    changes = limits.changes.get(resource.name, [])
    told = [change for change in changes if change.version == decision.number]
    able = told + [change for change in changes if change.version is None]
    rules = resource.rules if resource.rules is not None else _most_generous(limits, resource.name)
    if not able:
        return None
    for change in able:
        rules = _applied(rules, change, at_most=len(able) > 1)
    return rules


def _applied(before: dict[str, Rule] | None, change: Change, at_most: bool) -> dict[str, Rule] | None:
    """Limits after a change; or, when it may have happened or not, the more generous of before and after."""
    is_put = change.patch is None
    if before is None and not is_put:
        return None
    after: dict[str, Rule] = {} if is_put and not at_most else dict(before or {})
    for limit, said in change.rules().items():
        if said is None:
            after.pop(limit, None)
            continue
        known = (before or {}).get(limit)
        rule = Rule.of(said) if is_put or known is None else known.patched(said)
        after[limit] = known.or_more(rule) if at_most and known else rule
    if is_put and at_most:
        # Under a put that does not name it there is no such limit.
        after = {limit: rule for limit, rule in after.items() if limit in change.rules()}
    return after


def _tokens(merged: Merged) -> Check:
    result = Check("log-token", "grants")
    for name, group in sorted(merged.groups.items()):
        highest: dict[str, Decision] = {}
        for _, decisions in group.spans():
            for decision in decisions:
                if decision.kind != "granted":
                    continue
                result.looked += 1
                before = highest.get(decision.resource)
                if before is not None and decision.number <= before.number:
                    result.violate(f"{name}: the token {decision.number} follows {before.number}", before, decision)
                else:
                    highest[decision.resource] = decision
    return result


def _once(merged: Merged) -> Check:
    result = Check("log-once", "decisions on leases")
    for name, group in sorted(merged.groups.items()):
        queued: dict[str, Decision] = {}
        granted: dict[str, Decision] = {}
        ended: dict[str, Decision] = {}
        for _, decisions in group.spans():
            # An end may lie in the gap.
            by_key: dict[str, Decision] = {}
            for decision in decisions:
                if decision.kind == "deleted":
                    # What was held of it is forgotten without an end.
                    by_key = {key: one for key, one in by_key.items() if one.resource != decision.resource}
                if not decision.lease:
                    continue
                result.looked += 1
                table = {"queued": queued, "granted": granted, "ended": ended}[decision.kind]
                before = table.setdefault(decision.lease, decision)
                if before is not decision:
                    result.violate(f"{name}: {decision.lease} was {decision.kind} twice", before, decision)
                elif decision.kind != "ended" and decision.lease in ended:
                    result.violate(f"{name}: {decision.lease} was {decision.kind} after its end",
                                   ended[decision.lease], decision)
                elif decision.kind == "queued" and decision.lease in granted:
                    result.violate(f"{name}: {decision.lease} was queued after its grant", granted[decision.lease],
                                   decision)
                if decision.kind != "ended" and decision.said is not None:
                    _one_lease(result, name, by_key, ended, decision)
    return result


def _early(world: World, merged: Merged) -> Check:
    """No lease expires, and no wait runs out, before its time by the log's own clock."""
    result = Check("log-expiry", "times that ran out")
    for name, group in sorted(merged.groups.items()):
        for lease, end in group.ended.items():
            began = {"expired": group.granted, "timed_out": group.queued}.get(end.said or "", {}).get(lease)
            request = world.requests.get((began.resource, began.said or "")) if began else None
            if began is None or request is None or request.resource in world.limits.deleted:
                continue
            if end.said == "expired":
                known = world.leases.get(lease)
                if known is not None and any(call.do == "extend" for call in known.calls):
                    continue
                least_ms = world.limits.ttl_ms_min(request.resource, request.ttl_ms)
            else:
                least_ms = world.limits.wait_ms_min(request.resource, request.wait_ms)
            result.looked += 1
            passed_us = end.time_us - began.time_us
            if passed_us < least_ms * 1_000:
                result.violate(f"{name}: {lease} is {end.said} after {passed_us / 1_000:.3f} ms of {least_ms}",
                               began, end)
    return result


def _one_lease(result: Check, group: str, by_key: dict[str, Decision], ended: dict[str, Decision],
               decision: Decision) -> None:
    """A key has one lease, until it is forgotten a minute after its end."""
    key = decision.said or ""
    first = by_key.setdefault(key, decision)
    if first.lease == decision.lease:
        return
    end = ended.get(first.lease)
    if end is None or decision.time_us < end.time_us + _REMEMBERED_US:
        result.violate(f"{group}: the key {key} has two leases", first, decision)
    by_key[key] = decision
