"""The limits that can have been in force, from the puts and patches of the clients.

A change takes effect at some instant of its call, or, if its outcome is unknown, at any time after its begin. It is
over when another one has taken effect for certain that began after its end. So for each time there is a highest quota.
"""
from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

_MAX_WAIT_MS_DEFAULT = 60_000
_DEFAULT_TTL_MS, _MAX_TTL_MS = 60_000, 900_000


@dataclass(frozen=True)
class Rule:
    """One limit of a resource. A quota may be the highest of several that are possible."""

    kind: str
    algorithm: str
    window_ms: int
    cost: str
    quota: float
    burst: float | None

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Rule:
        kind = spec.get("kind", "")
        is_rate = kind == "rate"
        return cls(kind, spec.get("algorithm") or "sliding_window" if is_rate else "", spec.get("window_ms") or 0,
                   spec.get("cost") or ("load" if is_rate else "one"), spec.get("quota") or 0, spec.get("burst"))

    @property
    def shape(self) -> tuple[Any, ...]:
        return self.kind, self.algorithm, self.window_ms, self.cost

    @property
    def capacity(self) -> float:
        """The burst of a bucket follows its quota unless it is given."""
        return self.quota if self.burst is None else self.burst

    def patched(self, patch: dict[str, Any]) -> Rule:
        has = {"kind": self.kind, "algorithm": self.algorithm, "window_ms": self.window_ms, "cost": self.cost,
               "quota": self.quota, "burst": self.burst}
        return Rule.of(has | patch)

    def or_more(self, other: Rule) -> Rule:
        """The more generous of two."""
        burst = None if self.burst is None and other.burst is None else max(self.capacity, other.capacity)
        return Rule(*self.shape, max(self.quota, other.quota), burst)


class Change:
    """A put or a patch; all calls with one key are one change."""

    __slots__ = ("resource", "key", "at", "until", "is_refused", "version", "spec", "patch")

    def __init__(self, resource: str, key: str | None, at: float, spec: dict[str, Any] | None = None,
                 patch: dict[str, Any] | None = None) -> None:
        self.resource, self.key, self.at = resource, key, at
        self.until = math.inf if at > -math.inf else at
        self.is_refused = False
        self.version: int | None = None
        self.spec, self.patch = spec, patch

    def end(self, until: float, outcome: str, version: int | None) -> None:
        self.is_refused = outcome == "refused"
        if outcome == "ok":
            self.until, self.version = until, version

    @property
    def is_known(self) -> bool:
        """True when it has taken effect for certain."""
        return self.until < math.inf

    def rules(self) -> dict[str, dict[str, Any] | None]:
        """What it says of each limit it names."""
        return dict((self.spec or {}).get("limits") or {}) if self.patch is None else dict(self.patch)


class Bound:
    """The highest quota, and the largest burst, that can have been in force in a span of time."""

    def __init__(self, changes: list[tuple[float, float, float, float]]) -> None:
        """Of changes: from, until, quota, burst."""
        self._times = sorted({time for change in changes for time in change[:2] if time < math.inf})
        self._quotas: list[float] = []
        self._bursts: list[float] = []
        for time in self._times:
            now = [change for change in changes if change[0] <= time < change[1]]
            self._quotas.append(max((change[2] for change in now), default=math.inf))
            self._bursts.append(max((change[3] for change in now), default=math.inf))
        self.is_constant = len(set(self._quotas)) == 1 and len(set(self._bursts)) == 1

    def _pieces(self, since: float, until: float) -> tuple[int, int]:
        return bisect_right(self._times, since) - 1, bisect_right(self._times, until)

    def quota(self, since: float, until: float) -> float:
        first, end = self._pieces(since, until)
        # Before the first change that is known, nothing is known.
        return math.inf if first < 0 else max(self._quotas[first:end])

    def burst(self, since: float, until: float) -> float:
        first, end = self._pieces(since, until)
        return math.inf if first < 0 else max(self._bursts[first:end])


class Limits:
    """The limits of all resources, as the clients put and patched them."""

    def __init__(self) -> None:
        self.changes: dict[str, list[Change]] = {}
        # Resources that a client deleted: a later one of that name is another one.
        self.deleted: set[str] = set()
        # The rule of each limit whose shape never changed.
        self.steady: dict[str, dict[str, Rule]] = {}
        self.unsteady: set[tuple[str, str]] = set()
        self.bounds: dict[tuple[str, str], Bound] = {}
        self._shortest: dict[str, tuple[int, int, int]] = {}

    def add(self, change: Change) -> None:
        self.changes.setdefault(change.resource, []).append(change)

    def settle(self) -> None:
        """Works out the bounds, once all changes are there."""
        for resource, changes in self.changes.items():
            changes = self.changes[resource] = _merged(changes)
            self.steady[resource] = {}
            for limit in {limit for change in changes for limit in change.rules()}:
                self._settle(resource, limit, changes)

    def _settle(self, resource: str, limit: str, changes: list[Change]) -> None:
        rule: Rule | None = None
        # A limit that is taken away, or comes later, forgets what was used: it has another shape meanwhile.
        shapes: set[tuple[Any, ...] | None] = set()
        spans: list[tuple[float, float, float, float]] = []
        said_all = [said for change in changes if (said := change.rules().get(limit)) is not None]
        # What a patch leaves as it is may come from any change before it, if they differ.
        quota_max = max((said["quota"] for said in said_all if "quota" in said), default=math.inf)
        has_one_burst = len({said.get("burst") for said in said_all if "quota" not in said or "kind" in said}) <= 1

        for change, over in zip(changes, _over_at(limit, changes)):
            named = change.rules()
            if limit not in named:
                shapes |= {None} if change.patch is None else set()
                continue
            said = named[limit]
            if said is None:
                shapes.add(None)
                continue
            rule = Rule.of(said) if change.patch is None or rule is None else rule.patched(said)
            shapes.add(rule.shape)
            quota = rule.quota if "quota" in said else quota_max
            burst = rule.capacity if has_one_burst or change.patch is None else math.inf
            spans.append((change.at, over, quota, burst))

        if rule is None or shapes != {rule.shape}:
            self.unsteady.add((resource, limit))
            return
        self.steady[resource][limit] = rule
        self.bounds[resource, limit] = Bound(spans)

    def of_kind(self, kind: str) -> list[tuple[str, str, Rule, Bound]]:
        """All limits of a kind that can be judged."""
        return [(resource, limit, rule, self.bounds[resource, limit]) for resource, rules in self.steady.items()
                for limit, rule in rules.items() if rule.kind == kind and resource not in self.deleted]

    def wait_ms_min(self, resource: str, wait_ms: int) -> int:
        """How long a wait lasts at least, after what the resource may cut off."""
        if resource not in self._shortest:
            self._shortest[resource] = self._cuts(resource)
        return min(wait_ms, self._shortest[resource][0])

    def ttl_ms_min(self, resource: str | None, ttl_ms: int | None) -> int:
        """What a ttl that was asked for, or none, comes to at least."""
        if resource is None:
            return 0
        if resource not in self._shortest:
            self._shortest[resource] = self._cuts(resource)
        _, default, longest = self._shortest[resource]
        return min(default if ttl_ms is None else ttl_ms, longest)

    def _cuts(self, resource: str) -> tuple[int, int, int]:
        """The shortest max_wait_ms, default_ttl_ms and max_ttl_ms that a resource ever had; 0 when none is known."""
        specs = [change.spec for change in self.changes.get(resource, []) if change.spec]
        if not specs:
            return 0, 0, 0
        queues, leases = [spec.get("queue") or {} for spec in specs], [spec.get("lease") or {} for spec in specs]
        return (min(queue.get("max_wait_ms", _MAX_WAIT_MS_DEFAULT) for queue in queues),
                min(lease.get("default_ttl_ms", _DEFAULT_TTL_MS) for lease in leases),
                min(lease.get("max_ttl_ms", _MAX_TTL_MS) for lease in leases))

    def passes_over(self, resource: str) -> bool:
        """Whether a lease whose caller is away may lose its turn for a while."""
        specs = [change.spec or {} for change in self.changes.get(resource, [])]
        # A patch of the queue is not written down.
        return not specs or any((spec.get("queue") or {}).get("claim_ms") == 0 for spec in specs)


def _merged(changes: list[Change]) -> list[Change]:
    """One change for each key, by their begin. What was refused for certain is none."""
    by_key: dict[Any, Change] = {}
    for nth, change in enumerate(changes):
        if change.is_refused:
            continue
        name = nth if change.key is None else change.key
        first = by_key.setdefault(name, change)
        if first is not change:
            first.at = min(first.at, change.at)
            first.until = min(first.until, change.until)
            first.version = first.version if first.version is not None else change.version
    return sorted(by_key.values(), key=lambda change: change.at)


def _over_at(limit: str, changes: list[Change]) -> list[float]:
    """For each change: when another one, that began after its end, has taken its place in this limit for certain."""
    later = [change for change in changes if change.is_known and (change.patch is None or limit in change.patch)]
    # From the last begin to the first: the earliest end of those that begin from there on.
    begins = [change.at for change in later]
    ends = [math.inf] * (len(later) + 1)
    for nth in range(len(later) - 1, -1, -1):
        ends[nth] = min(later[nth].until, ends[nth + 1])

    def over(change: Change) -> float:
        if not change.is_known:
            return math.inf
        # Its own end is not before its begin, so it is never among those, but for one that was there from the start.
        since = change.until if change.until > -math.inf else math.nextafter(-math.inf, 0)
        low, high = 0, len(begins)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if begins[middle] < since else (low, middle)
        return ends[low]

    return [over(change) for change in changes]
