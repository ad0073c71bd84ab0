"""A perfect limiter in memory, with the log of what it decides.

One thread and one clock: an event at a time. Log time stands still in outages.
"""
from __future__ import annotations

import heapq
import itertools
import json
import random
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Callable

MS = 1_000_000
_KEPT_US = 15_000_000
_POLL_NS = 4 * MS
# A run begins at a time that is not 0, as the machine's clock does.
BEGIN_NS = 5_000 * MS

RESOURCES: dict[str, dict[str, Any]] = {
    "slots": {"placement": "eu", "limits": {"slots": {"kind": "concurrency", "quota": 3}}},
    "heavy": {"placement": "eu", "limits": {"units": {"kind": "concurrency", "quota": 10, "cost": "load"}}},
    "window": {"placement": "eu", "limits": {"rpm": {"kind": "rate", "quota": 20, "window_ms": 400}}},
    "bucket": {"placement": "eu", "limits": {"tpm": {"kind": "rate", "algorithm": "token_bucket", "quota": 60,
                                                    "window_ms": 1000, "burst": 12}}},
    "both": {"placement": "eu", "limits": {"slots": {"kind": "concurrency", "quota": 2},
                                          "rpm": {"kind": "rate", "quota": 40, "window_ms": 500, "cost": "one"}}},
    "wide": {"placement": "eu", "limits": {"rpm": {"kind": "rate", "quota": 100_000, "window_ms": 1000}}},
    "all": {"placement": "global", "limits": {"slots": {"kind": "concurrency", "quota": 2}}},
}
Record = dict[str, Any]
Steps = Generator[Any, None, Any]


@dataclass
class _Lease:
    id: str
    resource: _Resource
    key: str
    load: int
    priority: int
    ttl_us: int
    until_us: int
    alive_us: int
    asked_us: int
    state: str = "waiting"
    token: int = 0
    index: int = 0
    deadline_us: int = 0
    # How far its bucket was charged after its grant.
    mark: int = 0
    charged: dict[str, int] = field(default_factory=dict)
    refunded: dict[str, int] = field(default_factory=dict)
    wakers: list[Callable[[], None]] = field(default_factory=list)


@dataclass
class _Resource:
    name: str
    group: str
    limits: dict[str, dict[str, Any]]
    version: int = 1
    held: dict[str, int] = field(default_factory=dict)
    charges: dict[str, deque[list[Any]]] = field(default_factory=dict)
    # Of a bucket, as a queue of fluid: up to where it has drained, and up to where it was charged.
    heads: dict[str, int] = field(default_factory=dict)
    tails: dict[str, int] = field(default_factory=dict)
    drained_us: int = 0
    queue: list[tuple[int, int, _Lease]] = field(default_factory=list)
    is_polled: bool = False

    def cost(self, limit: str, load: int) -> int:
        spec = self.limits[limit]
        by = spec.get("cost") or ("load" if spec["kind"] == "rate" else "one")
        return 1 if by == "one" else load

    def used(self, limit: str, now_us: int) -> tuple[int, int]:
        """In use, and the most that may be, in the same unit."""
        spec = self.limits[limit]
        if spec["kind"] == "concurrency":
            return self.held.get(limit, 0), spec["quota"]
        if spec.get("algorithm") == "token_bucket":
            return self.tails.get(limit, 0) - self.heads.get(limit, 0), spec["burst"] * spec["window_ms"] * 1_000
        charges = self.charges.setdefault(limit, deque())
        while charges and charges[0][0] + spec["window_ms"] * 1_000 <= now_us:
            charges.popleft()
        return sum(charge[2] for charge in charges), spec["quota"]

    def scale(self, limit: str) -> int:
        spec = self.limits[limit]
        return spec["window_ms"] * 1_000 if spec.get("algorithm") == "token_bucket" else 1

    def refill(self, now_us: int) -> None:
        passed_us = max(0, now_us - self.drained_us)
        for limit, tail in self.tails.items():
            self.heads[limit] = min(tail, self.heads.get(limit, 0) + self.limits[limit]["quota"] * passed_us)
        self.drained_us = max(self.drained_us, now_us)

    def fits(self, load: int, now_us: int) -> bool:
        self.refill(now_us)
        for limit in self.limits:
            used, bound = self.used(limit, now_us)
            if used + self.cost(limit, load) * self.scale(limit) > bound:
                return False
        return True


class Limiter:
    """The limiter, and the events that it and its clients wait for."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = BEGIN_NS
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.outages = [(BEGIN_NS + at * MS, BEGIN_NS + (at + 250) * MS) for at in (700, 1_900, 9_000)]
        self.indexes = {"eu": 2, "global": 4}
        self.tokens = {"eu": 0, "global": 0}
        self.log: dict[str, list[Record]] = {"eu": [], "global": []}
        self.leases: dict[str, _Lease] = {}
        self.keys: dict[tuple[str, str], _Lease] = {}
        self.patches: dict[str, Record] = {}
        self.resources = {name: _Resource(name, spec["placement"], json.loads(json.dumps(spec["limits"])))
                          for name, spec in RESOURCES.items()}

    # Events.

    def at(self, time: int, action: Callable[[], None]) -> None:
        heapq.heappush(self.events, (time, next(self._order), action))

    def go(self, steps: Steps) -> None:
        """Runs a generator: it yields nanoseconds to sleep, or a lease and the longest time to wait for it."""
        try:
            wish = next(steps)
        except StopIteration:
            return
        if isinstance(wish, tuple):
            lease, longest = wish
            woken = [False]

            def wake() -> None:
                if not woken[0]:
                    woken[0] = True
                    self.go(steps)

            lease.wakers.append(lambda: self.at(self.now, wake))
            self.at(self.now + longest, wake)
        else:
            self.at(self.now + wish, lambda: self.go(steps))

    # Log time.

    def log_us(self) -> int:
        stood = sum(max(0, min(self.now, end) - begin) for begin, end in self.outages if begin < self.now)
        return (self.now - BEGIN_NS - stood) // 1_000

    def _entry(self, group: str) -> int:
        self.indexes[group] += self.chance.randint(1, 2)
        return self.indexes[group]

    def _decide(self, resource: _Resource, index: int, decision: str, **what: Any) -> None:
        self.log[resource.group].append({"index": index, "term": 1, "committed": True, "time_us": self.log_us(),
                                         "resource": resource.name, "decision": decision, **what})

    def _when(self, due_us: int, action: Callable[[], None]) -> None:
        """Acts when log time has come that far."""
        def look() -> None:
            left_us = due_us - self.log_us()
            if left_us > 0:
                self.at(self.now + left_us * 1_000 + 1_000, look)
            else:
                action()
        look_at = self.now + max(0, due_us - self.log_us()) * 1_000 + 1_000
        self.at(look_at, look)

    # The limiter.

    def acquire(self, record: Record) -> Record:
        resource, key, now_us = self.resources[record["resource"]], record["key"], self.log_us()
        index = self._entry(resource.group)
        known = self.keys.get((resource.group, key))
        if known is not None:
            known.alive_us = now_us + _KEPT_US
            return self.shown(known, index)

        waits = any(True for priority, _, lease in resource.queue if priority <= record["priority"])
        fits = not waits and resource.fits(record["load"], now_us)
        if not fits and record["wait_ms"] == 0:
            self._decide(resource, index, "refused", load=record["load"])
            return {"outcome": "refused", "status": 429, "code": "limit-exceeded", "index": index}
        lease = _Lease(f"{resource.group}.{index}", resource, key, record["load"], record["priority"],
                       record["ttl_ms"] * 1_000, now_us + record["wait_ms"] * 1_000, now_us + _KEPT_US, now_us)
        self.leases[lease.id] = self.keys[resource.group, key] = lease
        if fits:
            self._grant(lease, index)
        else:
            self._decide(resource, index, "queued", lease=lease.id, request=key)
            heapq.heappush(resource.queue, (lease.priority, next(self._order), lease))
            self._when(lease.until_us, lambda: self._end_waiting(lease, "timed_out"))
            self._when(lease.alive_us, lambda: self._fall_silent(lease))
            self._poll(resource)
        return self.shown(lease, index)

    def _grant(self, lease: _Lease, index: int) -> None:
        resource, now_us = lease.resource, self.log_us()
        self.tokens[resource.group] += 1
        lease.state, lease.token, lease.index = "held", self.tokens[resource.group], index
        for limit, spec in resource.limits.items():
            cost = resource.cost(limit, lease.load)
            lease.charged[limit] = cost
            if spec["kind"] == "concurrency":
                resource.held[limit] = resource.held.get(limit, 0) + cost
            elif spec.get("algorithm") == "token_bucket":
                lease.mark = resource.tails[limit] = resource.tails.get(limit, 0) + cost * resource.scale(limit)
            else:
                resource.charges.setdefault(limit, deque()).append([now_us, lease.id, cost])
        lease.deadline_us = now_us + lease.ttl_us
        self._decide(resource, index, "granted", lease=lease.id, request=lease.key, load=lease.load,
                     fencing_token=lease.token, waited_us=now_us - lease.asked_us)
        self._when(lease.deadline_us, lambda: self._expire(lease))
        self._wake(lease)

    def _wake(self, lease: _Lease) -> None:
        wakers, lease.wakers = lease.wakers, []
        for waker in wakers:
            waker()

    def _expire(self, lease: _Lease) -> None:
        if lease.state != "held":
            return
        if lease.deadline_us > self.log_us():
            self._when(lease.deadline_us, lambda: self._expire(lease))
            return
        self._end_held(lease, "expired", self._entry(lease.resource.group))

    def _end_held(self, lease: _Lease, state: str, index: int) -> None:
        resource = lease.resource
        for limit, spec in resource.limits.items():
            if spec["kind"] == "concurrency":
                resource.held[limit] -= lease.charged[limit]
        lease.state = state
        self._decide(resource, index, "ended", lease=lease.id, state=state, refunded=lease.refunded, debited={})
        self._grant_queue(resource, index)

    def _end_waiting(self, lease: _Lease, state: str) -> None:
        if lease.state == "waiting":
            lease.state = state
            self._decide(lease.resource, self._entry(lease.resource.group), "ended", lease=lease.id, state=state,
                         refunded={}, debited={})
            self._wake(lease)

    def _fall_silent(self, lease: _Lease) -> None:
        if lease.alive_us > self.log_us():
            self._when(lease.alive_us, lambda: self._fall_silent(lease))
        else:
            self._end_waiting(lease, "cancelled")

    def _grant_queue(self, resource: _Resource, index: int | None) -> None:
        now_us = self.log_us()
        while resource.queue:
            lease = resource.queue[0][2]
            if lease.state != "waiting":
                heapq.heappop(resource.queue)
                continue
            if not resource.fits(lease.load, now_us):
                return
            heapq.heappop(resource.queue)
            index = self._entry(resource.group) if index is None else index
            self._grant(lease, index)

    def _poll(self, resource: _Resource) -> None:
        """Grants the queue as time goes on: late, by a little, and never early."""
        def look() -> None:
            resource.is_polled = False
            self._grant_queue(resource, None)
            self._poll(resource)

        if resource.queue and not resource.is_polled:
            resource.is_polled = True
            self.at(self.awake(self.now + _POLL_NS), look)

    def awake(self, time: int) -> int:
        """Nothing is decided in an outage."""
        return next((end for begin, end in self.outages if begin <= time < end), time)

    def shown(self, lease: _Lease, index: int) -> Record:
        """What is said to an acquire."""
        if lease.state == "held":
            left_us = lease.deadline_us - self.log_us()
            if left_us > 0:
                left_ms = max(0, left_us // 1_000 - self.chance.randint(0, 2))
                return {"outcome": "ok", "status": 200, "lease": lease.id, "state": "held", "token": lease.token,
                        "index": lease.index, "expires_in_ms": left_ms, "charged": lease.charged}
        if lease.state == "waiting":
            return {"outcome": "ok", "status": 202, "lease": lease.id, "state": "waiting", "index": index,
                    "position": 1}
        if lease.state == "timed_out":
            return {"outcome": "refused", "status": 429, "code": "wait-timeout", "index": index}
        state = "expired" if lease.state == "held" else lease.state
        return {"outcome": "refused", "status": 410, "code": "lease-ended", "state": state, "index": index}

    def look(self, lease: _Lease) -> Record:
        lease.alive_us = max(lease.alive_us, self.log_us() + _KEPT_US)
        if lease.state in ("held", "waiting"):
            shown = self.shown(lease, 0)
            if shown["outcome"] == "ok":
                shown.pop("index" if lease.state == "waiting" else "position", None)
                return shown
        state = "expired" if lease.state == "held" else lease.state
        return {"outcome": "ok", "status": 200, "lease": lease.id, "state": state}

    def release(self, record: Record) -> Record:
        lease = self.leases[record["lease"]]
        index, now_us = self._entry(lease.resource.group), self.log_us()
        if lease.state == "held" and lease.deadline_us <= now_us:
            self._end_held(lease, "expired", index)
        elif lease.state == "held":
            self._give_back(lease, record.get("used"), now_us)
            self._end_held(lease, "released", index)
        elif lease.state == "waiting":
            lease.state = "cancelled"
            self._decide(lease.resource, index, "ended", lease=lease.id, state="cancelled", refunded={}, debited={})
            self._wake(lease)
        if lease.state in ("released", "cancelled"):
            return {"outcome": "ok", "status": 200, "lease": lease.id, "state": lease.state, "index": index,
                    "refunded": lease.refunded, "debited": {}}
        code = "lease-expired" if lease.state == "expired" else "lease-ended"
        return {"outcome": "refused", "status": 410, "code": code, "state": lease.state, "index": index}

    def _give_back(self, lease: _Lease, used: int | None, now_us: int) -> None:
        if used is None:
            return
        resource = lease.resource
        resource.refill(now_us)
        for limit, spec in resource.limits.items():
            unused = lease.charged[limit] - used
            if spec["kind"] != "rate" or spec.get("cost") == "one" or unused <= 0:
                continue
            if spec.get("algorithm") == "token_bucket":
                # What has drained is not given back.
                head, scale = resource.heads.get(limit, 0), resource.scale(limit)
                back = min(unused, max(0, lease.mark - head) // scale)
                if lease.mark == resource.tails[limit]:
                    resource.tails[limit] -= back * scale
                else:
                    resource.heads[limit] = head + back * scale
            else:
                charges = resource.charges.get(limit, ())
                resource.used(limit, now_us)
                mine = [charge for charge in charges if charge[1] == lease.id]
                back = min(unused, mine[0][2]) if mine else 0
                if back:
                    mine[0][2] -= back
            if back:
                lease.refunded[limit] = back

    def extend(self, record: Record) -> Record:
        lease = self.leases[record["lease"]]
        index, now_us = self._entry(lease.resource.group), self.log_us()
        if lease.state == "held" and lease.deadline_us <= now_us:
            self._end_held(lease, "expired", index)
        if lease.state == "held":
            lease.deadline_us = now_us + record["ttl_ms"] * 1_000
            self._when(lease.deadline_us, lambda: self._expire(lease))
            return self.shown(lease, index) | {"index": index}
        if lease.state == "expired":
            return {"outcome": "refused", "status": 410, "code": "lease-expired", "state": "expired", "index": index}
        return {"outcome": "refused", "status": 409, "code": "lease-not-held", "index": index}

    def patch(self, record: Record) -> Record:
        resource = self.resources[record["resource"]]
        index = self._entry(resource.group)
        known = self.patches.get(record["key"])
        if known is None:
            resource.refill(self.log_us())
            for limit, said in record["limits"].items():
                resource.limits[limit].update(said)
            resource.version += 1
            known = self.patches[record["key"]] = {"outcome": "ok", "status": 200, "version": resource.version}
            self._decide(resource, index, "limits_changed", version=resource.version)
            self._grant_queue(resource, index)
        return known | {"index": index}

    def put(self, record: Record) -> Record:
        resource = self.resources[record["resource"]]
        index = self._entry(resource.group)
        self._decide(resource, index, "limits_changed", version=1)
        return {"outcome": "ok", "status": 201, "version": 1, "index": index}
