"""The calls of a run, put together by lease and by key, and what follows for certain from what was answered.

    asked         a lease cannot have been granted before: its first acquire began, or it was told `waiting`
    granted       it had been granted by then: the first answer that says so was received
    deadline      it was held at least until then, unless it was released

All times are nanoseconds of the clients' clock.
"""
from __future__ import annotations

import math
import sys
from bisect import bisect_right
from itertools import accumulate
from typing import Any, Iterable

from .limits import Change, Limits
from .records import Damaged, Folder, objects

MS = 1_000_000
S = 1_000_000_000
# The time between the making of an answer and the note of its receipt: scheduling on a machine with little left, and a
# lost segment or two. A run that delays the way between clients and nodes notes a longer one ("margin_ms").
MARGIN_MS = 300
# Ended leases are remembered for 60 s of log time, which is never faster than real time but for 200 ppm.
REMEMBERED_NS = 59 * S
PRIORITY_DEFAULT = 5
_ENDED = ("released", "expired", "cancelled", "timed_out", "rejected", "lapsed")
# A refusal with one of these speaks of a lease that there was; any other one left none.
_OF_A_LEASE = {"lease-ended", "wait-timeout", "resource-deleted", "lease-expired", "lease-not-held"}
_STATE_OF_CODE = {"lease-expired": "expired", "wait-timeout": "timed_out", "resource-deleted": "rejected"}
WAITING, HELD, ENDED = 0, 1, 2
_RANK = {"waiting": WAITING, "held": HELD} | dict.fromkeys(_ENDED, ENDED)

_share = sys.intern


class Call:
    """One call and its outcome."""

    __slots__ = ("file", "n", "at", "until", "do", "outcome", "subject", "state", "rank", "code", "token", "index",
                 "left", "span_ms", "used", "refunded", "debited", "status")

    def __init__(self, file: str, record: dict[str, Any]) -> None:
        get = record.get
        self.file, self.n, self.at = file, record["n"], record["at"]
        self.do: str = _share(record["do"])
        self.until: float = math.inf
        self.outcome = "unknown"
        # The key of an acquire, the id of the lease of others.
        self.subject: Any = get("key") if self.do == "acquire" else get("lease")
        self.state: str | None = None
        # The stage that the answer tells of its lease.
        self.rank: int | None = None
        self.code: str | None = None
        self.token: int | None = None
        self.index: int | None = None
        self.left: int | None = None
        # ttl_ms of an extend; how long others are held open.
        self.span_ms: int | None = get("ttl_ms" if self.do == "extend" else
                                       "hold_ms" if self.do == "acquire" else "wait_ms")
        self.used: Any = get("used")
        self.refunded: dict[str, int] | None = None
        self.debited: dict[str, int] | None = None
        self.status: int | None = None

    def end(self, record: dict[str, Any]) -> None:
        get = record.get
        self.until, self.outcome = record["until"], _share(record["outcome"])
        self.state, self.code = get("state"), get("code")
        if self.state is None and self.outcome == "refused":
            self.state = _STATE_OF_CODE.get(self.code or "")
        self.rank = _RANK.get(self.state) if self.state and self.outcome != "unknown" else None
        self.token, self.index, self.left = get("token"), get("index"), get("expires_in_ms")
        self.refunded, self.debited, self.status = get("refunded"), get("debited"), get("status")

    @property
    def is_ok(self) -> bool:
        return self.outcome == "ok"

    @property
    def may_have_happened(self) -> bool:
        return self.outcome != "refused"

    @property
    def decided_by(self) -> float:
        """A call that its client gave up may be decided at any time after."""
        return self.until if self.outcome != "unknown" else math.inf

    def __str__(self) -> str:
        said = [f"{name} {value}" for name, value in (
            ("state", self.state), ("token", self.token), ("index", self.index), ("expires_in_ms", self.left),
            ("refunded", self.refunded), ("code", self.code)) if value is not None]
        until = "never" if self.until == math.inf else f"{self.until / MS:.3f} ms"
        return (f"{self.file} n {self.n}: {self.do} {self.subject}, {self.at / MS:.3f} ms to {until}: "
                f"{self.outcome} {', '.join(said)}".rstrip())


class Request:
    """A key of one resource, with all acquires that were made with it."""

    __slots__ = ("resource", "key", "calls", "leases", "load", "priority", "wait_ms", "ttl_ms", "began")

    def __init__(self, record: dict[str, Any]) -> None:
        get = record.get
        self.resource: str = _share(record["resource"])
        self.key: str | None = get("key")
        self.calls: list[Call] = []
        self.leases: list[str] = []
        load = get("load")
        self.load: Any = 1 if load is None else load
        priority = get("priority")
        self.priority: int = PRIORITY_DEFAULT if priority is None else priority
        self.wait_ms: int = get("wait_ms") or 0
        self.ttl_ms: int | None = get("ttl_ms")
        # No lease of it can have been made before.
        self.began: int = 0

    def derive(self) -> None:
        able = [call.at for call in self.calls if call.may_have_happened or call.code in _OF_A_LEASE]
        self.began = min(able or [call.at for call in self.calls])


class Lease:
    """A lease that some client was told of."""

    __slots__ = ("id", "request", "calls", "charged", "token", "asked", "granted", "told_held", "told_waiting",
                 "waited", "released", "held_until", "is_lapsed")

    def __init__(self, lease: str) -> None:
        self.id = lease
        self.request: Request | None = None
        # In the order of their outcomes.
        self.calls: list[Call] = []
        self.charged: dict[str, int] | None = None
        self.token: int | None = None
        self.asked: float = 0
        self.granted: float = math.inf
        # The first answer that said `held`; that said `waiting`; when it waited for certain.
        self.told_held: float = math.inf
        self.told_waiting: float = math.inf
        self.waited: float = -math.inf
        # No release had begun before.
        self.released: float = math.inf
        self.held_until: float = -math.inf
        self.is_lapsed = False

    @property
    def group(self) -> str:
        return self.id.partition(".")[0]

    @property
    def resource(self) -> str | None:
        return self.request.resource if self.request else None

    @property
    def priority(self) -> int:
        return self.request.priority if self.request else PRIORITY_DEFAULT

    def costs(self, limit: str, cost: str) -> int:
        """What its grant was charged: as the answer says, or as its load and the limit make it."""
        if self.charged is not None:
            return self.charged.get(limit, 0)
        return cost_of(self.request.load if self.request else 0, cost)

    def derive(self, limits: Limits, margin_ns: int) -> None:
        """Works out what is certain, once all calls are there."""
        self.calls.sort(key=lambda call: call.until)
        held: list[Call] = []
        for call in self.calls:
            rank = call.rank
            if call.do == "release" and call.may_have_happened:
                self.released = min(self.released, call.at)
            if rank is None:
                continue
            if rank == WAITING:
                self.told_waiting = min(self.told_waiting, call.until)
                # A read is of an instant between its call and its answer: a node that holds a call open does not
                # ask the leader again when it says that nothing has come.
                self.waited = max(self.waited, call.at)
                continue
            self.is_lapsed |= call.state == "lapsed"
            if rank == HELD or call.state in ("released", "expired", "lapsed"):
                self.granted = min(self.granted, call.until)
            if rank == HELD and call.is_ok:
                held.append(call)
                self.told_held = min(self.told_held, call.until)
                if self.token is None:
                    self.token = call.token

        self.asked = self.request.began if self.request else min(call.at for call in self.calls)
        if self.waited <= self.granted:
            self.asked = max(self.asked, self.waited)
        if held:
            self.held_until = self._held_until(held, limits, margin_ns)

    def _held_until(self, held: list[Call], limits: Limits, margin_ns: int) -> float:
        """A lease that is told to be held has been held all the time since its grant."""
        extends = [call for call in self.calls if call.do == "extend" and call.may_have_happened]
        shown = max(call.at for call in held)
        promised = max(self.deadline(call, extends, limits, margin_ns) for call in held)
        return max(shown, min(promised, self.released))

    def deadline(self, told: Call, extends: Iterable[Call], limits: Limits, margin_ns: int) -> float:
        """When the time was over that an answer told, at the earliest. An extend that was decided later, or may have
        been, can have made it shorter."""
        left = (told.left or 0) * MS
        deadline = max(told.at + left, told.until + left - margin_ns)
        for extend in extends:
            if extend is not told and extend.decided_by > told.at:
                ttl_ms = limits.ttl_ms_min(self.resource, extend.span_ms)
                deadline = min(deadline, extend.at + ttl_ms * MS)
        return deadline


def cost_of(load: Any, cost: str) -> int:
    """What a load costs under a limit, by what the limit counts."""
    if cost == "one":
        return 1
    if isinstance(load, dict):
        return sum(load.values()) if cost == "load" else load.get(cost, 0)
    return int(load or 0) if cost == "load" else 0


class World:
    """All that the clients of a run wrote down."""

    def __init__(self, folder: Folder) -> None:
        self.margin_ns = int(folder.notes.get("margin_ms", MARGIN_MS)) * MS
        self.leases: dict[str, Lease] = {}
        self.requests: dict[tuple[str, str], Request] = {}
        self.limits = Limits()
        # All calls, by what they did; those of leases and keys are there too.
        self.calls: list[Call] = []
        self.changes: list[tuple[Call, Change]] = []
        # How much of a quota was in use at most, by resource and limit.
        self.most: dict[tuple[str, str], float] = {}
        # By group: writes that were answered ok, by their end; and the latest begin among those so far.
        self._ends: dict[str, list[float]] = {}
        self._begins: dict[str, list[float]] = {}
        self._charges: dict[tuple[tuple[str, int], ...], dict[str, int]] = {}

        for name, spec in (folder.notes.get("resources") or {}).items():
            self.limits.add(Change(name, None, -math.inf, spec=spec))
        for path in folder.histories:
            self._read(path.name.removesuffix(".jsonl"), objects(path, torn_end=True), path.name)
        self.limits.settle()
        self._link_refusals()
        for lease in self.leases.values():
            lease.derive(self.limits, self.margin_ns)
        self._note_writes()

    def written_since(self, group: str, by: float) -> float:
        """An entry that was decided then, or later, was committed by that time.

        A new leader goes on from the stamp of the last entry: of the time since then, log time loses all that no entry
        was made in.
        """
        at = bisect_right(self._ends.get(group, ()), by) - 1
        return self._begins[group][at] if at >= 0 else -math.inf

    def _note_writes(self) -> None:
        writes: dict[str, list[tuple[float, float]]] = {}
        for lease in self.leases.values():
            for call in lease.calls:
                if call.is_ok and call.do != "look":
                    writes.setdefault(lease.group, []).append((call.until, call.at))
        for group, ended in writes.items():
            ended.sort()
            self._ends[group] = [until for until, _ in ended]
            self._begins[group] = list(accumulate((at for _, at in ended), max))

    def bind(self, resource: str, limit: str, used: float, quota: float) -> None:
        """Notes how much of a quota was in use."""
        share = used / quota if quota else 0.0
        if share > self.most.get((resource, limit), 0.0):
            self.most[resource, limit] = share

    def _read(self, file: str, records: Iterable[tuple[int, dict[str, Any]]], name: str) -> None:
        pending: dict[int, tuple[Call, Any]] = {}
        for line, record in records:
            try:
                if "do" in record:
                    call = Call(file, record)
                    if call.n in pending:
                        raise Damaged(f"{name}:{line}: the call {call.n} is there twice")
                    pending[call.n] = call, self._begin(call, record)
                    self.calls.append(call)
                else:
                    call, target = pending.pop(record["n"])
                    call.end(record)
                    self._end(call, target, record)
            except (KeyError, TypeError) as error:
                raise Damaged(f"{name}:{line}: {error!r} in {record}") from error

    def _begin(self, call: Call, record: dict[str, Any]) -> Any:
        if call.do == "acquire":
            # Without a key nobody can repeat it: it is a request of its own.
            key = call.subject if call.subject is not None else f"{call.file} {call.n}"
            request = self.requests.get((record["resource"], key))
            if request is None:
                request = self.requests[_share(record["resource"]), key] = Request(record)
            request.calls.append(call)
            return request
        if call.do in ("patch", "put"):
            change = Change(record["resource"], record.get("key"), call.at, record.get("spec"), record.get("limits"))
            call.subject = record["resource"]
            self.changes.append((call, change))
            self.limits.add(change)
            return change
        if call.do == "delete":
            self.limits.deleted.add(record["resource"])
            return None
        return self._lease(call.subject, call)

    def _lease(self, lease: str, call: Call) -> Lease:
        found = self.leases.get(lease)
        if found is None:
            found = self.leases[lease] = Lease(lease)
        found.calls.append(call)
        return found

    def _end(self, call: Call, target: Any, record: dict[str, Any]) -> None:
        if isinstance(target, Change):
            target.end(call.until, call.outcome, record.get("version"))
            return
        lease = target
        if isinstance(target, Request):
            name = record.get("lease")
            if not call.is_ok or name is None:
                return
            if name in target.leases:
                name = target.leases[target.leases.index(name)]
            else:
                target.leases.append(name)
            lease = self._lease(name, call)
            if lease.request is None:
                lease.request = target
        charged = record.get("charged")
        if charged is not None and lease is not None and lease.charged is None:
            lease.charged = self._charges.setdefault(tuple(sorted(charged.items())), charged)

    def _link_refusals(self) -> None:
        """A refusal of an acquire says how its lease ended, and does not name it."""
        for request in self.requests.values():
            request.derive()
            if len(request.leases) == 1:
                lease = self.leases[request.leases[0]]
                lease.calls += [call for call in request.calls if call.code in _OF_A_LEASE or
                                call.outcome == "unknown"]
