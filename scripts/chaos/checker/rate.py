"""How much is admitted: in a window, and by a bucket.

A grant lies between `asked` and `granted` of its lease; it counts for a span of time when the whole of that lies in
it. Log time is never faster than the clients' clock, but for the error of two clocks, so what lies in a span of theirs
lies in one of log time that is no longer.

A release that gives back takes off what it may have given back, from its begin on. Debts make a server stricter, and
are not counted.
"""
from __future__ import annotations

import heapq
import math
from bisect import bisect_right, insort
from dataclasses import dataclass

from .limits import Bound, Rule
from .report import Check
from .world import MS, S, Lease, World

# By how much two clocks of one machine, or of two, may differ: one part in 5,000 is 200 ppm.
_PARTS = 5_000
_SHOWN = 8
# Longer spans of a bucket are not looked at, nor more of them at once.
_SPAN_MAX_NS = 120 * S
_BEGINS_MAX = 4_096


@dataclass
class _Grant:
    lease: Lease
    since: int
    until: int
    units: int
    # What a release that began then may have given back.
    back: int
    back_at: float


def check(world: World) -> Check:
    result = Check("rate", "grants")
    limits = world.limits.of_kind("rate")
    judged = {resource for resource, _, _, _ in limits}
    by_resource: dict[str, list[Lease]] = {}
    for lease in world.leases.values():
        if lease.granted < math.inf and lease.resource in judged:
            by_resource.setdefault(lease.resource or "", []).append(lease)
    result.looked = sum(map(len, by_resource.values()))

    for resource, limit, rule, bound in limits:
        grants = [_grant(lease, limit, rule) for lease in by_resource.get(resource, ())]
        grants = sorted((grant for grant in grants if grant.units > 0), key=lambda grant: grant.until)
        judge = _window if rule.algorithm == "sliding_window" else _bucket
        most = judge(result, f"{resource} {limit}", rule, bound, grants)
        world.bind(resource, limit, most, 1)
    result.why_skipped = "grants whose call was longer than the window"
    return result


def _grant(lease: Lease, limit: str, rule: Rule) -> _Grant:
    units = lease.costs(limit, rule.cost)
    releases = [call for call in lease.calls if call.do == "release" and call.may_have_happened]
    back_at = min((call.at for call in releases), default=math.inf)
    # All releases of a lease are answered as the first one that was decided.
    told = next((call.refunded for call in releases if call.is_ok and call.refunded is not None), None)
    if told is not None:
        back = told.get(limit, 0)
    else:
        back = max((_given_back(call.used, rule.cost, units) for call in releases), default=0)
    if lease.is_lapsed:
        back, back_at = units, lease.asked
    return _Grant(lease, int(lease.asked), int(lease.granted), units, min(back, units), back_at)


def _given_back(used: object, cost: str, units: int) -> int:
    """At most so much is given back by a release."""
    if used is None:
        return 0
    return max(0, units - used) if isinstance(used, int) and cost == "load" else units


def _window(result: Check, name: str, rule: Rule, bound: Bound, grants: list[_Grant]) -> float:
    width = rule.window_ms * MS * (_PARTS - 1) // _PARTS
    begins: list[tuple[int, int]] = []
    backs: list[tuple[float, int]] = []
    counted: dict[int, int] = {}
    used, most = 0, 0.0
    for nth, grant in enumerate(grants):
        if grant.since < grant.until - width:
            result.skipped += 1
            continue
        while backs and backs[0][0] < grant.until:
            _, given = heapq.heappop(backs)
            if given in counted:
                counted[given] -= grants[given].back
                used -= grants[given].back
        while begins and begins[0][0] < grant.until - width:
            used -= counted.pop(heapq.heappop(begins)[1])

        counted[nth] = grant.units
        if grant.back and grant.back_at < grant.until:
            counted[nth] -= grant.back
        elif grant.back:
            heapq.heappush(backs, (grant.back_at, nth))
        used += counted[nth]
        heapq.heappush(begins, (grant.since, nth))
        quota = bound.quota(grant.since, grant.until)
        most = max(most, used / quota if quota else 0.0)
        if used > quota:
            result.violate(f"{name}: {used} were granted for certain in {width / MS:.3f} ms until "
                           f"{grant.until / MS:.3f} ms, and {quota:g} was the highest quota of {rule.window_ms} ms: "
                           f"{len(counted)} grants",
                           *(_shown(grants[one], units) for one, units in list(counted.items())[-_SHOWN:]))
    return most


def _bucket(result: Check, name: str, rule: Rule, bound: Bound, grants: list[_Grant]) -> float:
    spans = _Spans(rule.window_ms * MS)
    backs: list[tuple[float, int]] = []
    most = 0.0
    for nth, grant in enumerate(grants):
        spans.forget(grant.until - _SPAN_MAX_NS)
        quota = bound.quota(spans.since(grant.since), grant.until)
        if quota == math.inf:
            spans, backs = _Spans(rule.window_ms * MS), []
            continue
        while backs and backs[0][0] < grant.until:
            given = grants[heapq.heappop(backs)[1]]
            spans.add(given.since, -given.back, quota)
        units = grant.units
        if grant.back and grant.back_at < grant.until:
            units -= grant.back
        elif grant.back:
            heapq.heappush(backs, (grant.back_at, nth))

        spans.add(grant.since, units, quota)
        excess, since = spans.most(grant.until, quota)
        burst = bound.burst(grant.since, grant.until)
        most = max(most, excess / burst if burst else 0.0)
        # A unit is not split: what is counted exactly is not rounded.
        if excess > burst:
            inside = [one for one in grants[max(0, nth - 2_000):nth + 1] if one.since >= since]
            span = f"from {since / MS:.3f} to {grant.until / MS:.3f} ms"
            result.violate(f"{name}: {span} {excess:.3f} more were granted for certain than a quota of {quota:g} "
                           f"refills in {rule.window_ms} ms, and {burst:g} is the burst",
                           *(_shown(one, one.units) for one in inside[-_SHOWN:]))
    return most


class _Spans:
    """The spans of time that begin at a grant, and what was granted in each beyond the refill.

    The value of a begin `s` is `refill * s + granted since s`; the excess until `e` is the highest value less
    `refill * e`. A grant raises the values of all begins up to its own. So a begin whose value is not above that
    of an earlier one never will be, and is dropped: values rise along the list, and only their steps are kept.
    All is scaled by the window and the error of clocks, and whole.
    """

    def __init__(self, window_ns: int) -> None:
        self._window = window_ns * _PARTS
        self._quota = 0
        self._begins: list[int] = []
        # The step from the begin before; the first one is never read.
        self._steps: list[int] = []
        self._last = 0

    def since(self, otherwise: float) -> float:
        return self._begins[0] if self._begins else otherwise

    def forget(self, before: int) -> None:
        """Drops the begins before an instant."""
        old = bisect_right(self._begins, before)
        del self._begins[:old], self._steps[:old]

    def add(self, at: int, units: int, quota: float) -> None:
        """Grants so much at, or after, an instant."""
        self._refill(quota)
        if units > 0:
            self._begin(at)
        # Those up to it are raised: the step behind them becomes lower.
        behind = bisect_right(self._begins, at)
        if behind == 0:
            return
        raised = units * self._window
        if behind == len(self._begins):
            self._last += raised
            return
        self._steps[behind] -= raised
        while behind < len(self._begins) and self._steps[behind] <= 0:
            step = self._steps.pop(behind)
            self._begins.pop(behind)
            if behind < len(self._begins):
                self._steps[behind] += step
            else:
                self._last -= step

    def most(self, until: int, quota: float) -> tuple[float, int]:
        """The highest excess of all spans until then, in units, and where its span begins."""
        excess = self._last - self._rate * until
        return excess / self._window, self._begins[-1] if self._begins else until

    @property
    def _rate(self) -> int:
        return self._quota * (_PARTS + 1)

    def _refill(self, quota: float) -> None:
        """Another quota: a higher one may have refilled all the time, so that the spans begin anew."""
        if int(quota) != self._quota:
            had = list(self._begins), list(self._steps), self._last
            more = (int(quota) - self._quota) * (_PARTS + 1)
            self._quota = int(quota)
            begins, steps, last = had
            if not begins:
                return
            # Each value grows with its begin, and each step with the time between the two.
            for nth in range(1, len(begins)):
                steps[nth] += more * (begins[nth] - begins[nth - 1])
            self._begins, self._steps, self._last = begins, steps, last + more * begins[-1]
            self._drop()

    def _drop(self) -> None:
        """Drops all begins that are not above an earlier one."""
        nth = 1
        while nth < len(self._begins):
            if self._steps[nth] > 0:
                nth += 1
                continue
            step = self._steps.pop(nth)
            self._begins.pop(nth)
            if nth < len(self._begins):
                self._steps[nth] += step
            else:
                self._last -= step

    def _begin(self, at: int) -> None:
        """A span may begin here. What was granted since is at least what was granted since the next begin."""
        place = bisect_right(self._begins, at)
        if place and self._begins[place - 1] == at:
            return
        if place == len(self._begins):
            value = self._rate * at
            if place and value <= self._last:
                return
            step = value - self._last
            self._last = value
        else:
            step = self._between(place, at)
            if step is None:
                return
        insort(self._begins, at)
        self._steps.insert(place, step)
        if len(self._begins) > _BEGINS_MAX:
            del self._begins[0], self._steps[0]

    def _between(self, place: int, at: int) -> int | None:
        """The step to a new begin before another one; `None` when it is not above the one before."""
        to_next = self._rate * (self._begins[place] - at)
        step = self._steps[place] - to_next
        if place and step <= 0:
            return None
        self._steps[place] = to_next
        return step


def _shown(grant: _Grant, units: int) -> str:
    calls = [call for call in grant.lease.calls if call.until == grant.until]
    span = f"{grant.since / MS:.3f} to {grant.until / MS:.3f} ms"
    return f"{grant.lease.id}: {units} of {grant.units}, {span}: {calls[0]}"
