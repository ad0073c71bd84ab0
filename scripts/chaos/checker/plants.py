"""Violations, one of each kind, planted into a run that has none.

These are of clients. They happen after the end of the run, on a resource of their own, in a history of their own:
their answers name no index, so that no log is expected to have them. Those of logs are in log_plants.py.
"""
from __future__ import annotations

from typing import Any, Callable

from .simulate import MS, Record, Run

SLOT = {"slots": {"kind": "concurrency", "quota": 1}}
_TWO_SLOTS = {"slots": {"kind": "concurrency", "quota": 2}}
_RPM = {"rpm": {"kind": "rate", "quota": 5, "window_ms": 1000}}
_TPM = {"tpm": {"kind": "rate", "algorithm": "token_bucket", "quota": 10, "window_ms": 1000, "burst": 2}}
Plant = Callable[[Run], None]
PLANTS: list[tuple[str, str, Plant]] = []


def plant(check: str, what: str) -> Callable[[Plant], Plant]:
    def note(made: Plant) -> Plant:
        PLANTS.append((check, what, made))
        return made
    return note


class Hand:
    """A history that is written by hand: calls by their begin and end, in milliseconds after the run."""

    def __init__(self, run: Run, limits: dict[str, Any], **spec: Any) -> None:
        self._records: list[Record] = []
        run.histories[99] = self._records
        self._base = run.run["ended"] + 1_000 * MS
        run.run["ended"] += 300_000 * MS
        self._limits = limits
        whole = {"placement": "eu", "limits": limits, **spec}
        self.call(0, 1, "put", {"resource": "by-hand", "key": "put", "spec": whole}, {"version": 1})

    def call(self, at: float, until: float | None, do: str, what: Record, answer: Record, outcome: str = "ok") -> None:
        n = len(self._records) + 1
        self._records.append({"n": n, "at": self._base + int(at * MS), "do": do, "node": 1, **what})
        if until is not None:
            self._records.append({"n": n, "until": self._base + int(until * MS), "outcome": outcome, **answer})

    def acquire(self, at: float, until: float | None, name: str, answer: Record, outcome: str = "ok",
                **what: Any) -> None:
        request = {"resource": "by-hand", "key": f"key-{name}", "load": 1, "priority": 5, "wait_ms": 60_000,
                   "hold_ms": 0, "ttl_ms": 60_000}
        self.call(at, until, "acquire", request | what, answer, outcome)

    def held(self, at: float, until: float, name: str, token: int, left_ms: int = 60_000, load: int = 1,
             **what: Any) -> None:
        what.setdefault("ttl_ms", left_ms)
        charged = {limit: 1 if spec["kind"] == "concurrency" else load for limit, spec in self._limits.items()}
        self.acquire(at, until, name, self.shown(name, token, left_ms) | {"charged": charged}, load=load, **what)

    def waits(self, at: float, until: float, name: str, **what: Any) -> None:
        self.acquire(at, until, name, {"lease": f"eu.hand-{name}", "state": "waiting"}, **what)

    def of_lease(self, at: float, until: float | None, do: str, name: str, answer: Record, outcome: str = "ok",
                 **what: Any) -> None:
        self.call(at, until, do, {"lease": f"eu.hand-{name}", **what}, answer, outcome)

    def release(self, at: float, until: float, name: str, refunded: Record | None = None, **what: Any) -> None:
        answer = {"lease": f"eu.hand-{name}", "state": "released", "refunded": refunded or {}, "debited": {}}
        self.of_lease(at, until, "release", name, answer, **what)

    def look(self, at: float, until: float, name: str, state: str, **answer: Any) -> None:
        self.of_lease(at, until, "look", name, {"lease": f"eu.hand-{name}", "state": state, **answer})

    @staticmethod
    def shown(name: str, token: int, left_ms: int) -> Record:
        return {"lease": f"eu.hand-{name}", "state": "held", "token": token, "expires_in_ms": left_ms}


@plant("held", "two leases of one slot")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1)
    hand.held(30, 40, "b", 2)
    hand.release(50, 60, "a")
    hand.release(70, 80, "b")


@plant("held", "a second lease after the quota was lowered")
def _(run: Run) -> None:
    hand = Hand(run, _TWO_SLOTS)
    hand.call(10, 20, "patch", {"resource": "by-hand", "key": "p", "limits": {"slots": {"quota": 1}}}, {"version": 2})
    hand.held(30, 40, "a", 1)
    hand.held(50, 60, "b", 2)


@plant("held", "a grant while the quota is still full from before it was lowered")
def _(run: Run) -> None:
    hand = Hand(run, {"slots": {"kind": "concurrency", "quota": 3}})
    hand.held(2, 3, "a", 1)
    hand.held(4, 5, "b", 2)
    hand.call(10, 20, "patch", {"resource": "by-hand", "key": "p", "limits": {"slots": {"quota": 1}}}, {"version": 2})
    hand.held(50, 60, "c", 3)


@plant("held", "a slot that is given on before its time")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1, left_ms=2_000)
    hand.held(1_600, 1_650, "b", 2)


@plant("held", "a slot that is given on before its extended time")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1, left_ms=2_000)
    hand.of_lease(1_000, 1_010, "extend", "a", hand.shown("a", 1, 5_000), ttl_ms=5_000)
    hand.held(4_000, 4_010, "b", 2)


@plant("held", "a slot freed by a release that was refused")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1)
    hand.of_lease(30, 40, "release", "a", {"code": "no-quorum", "status": 503}, "refused")
    hand.held(50, 60, "b", 2)


@plant("rate", "six of five in a window")
def _(run: Run) -> None:
    hand = Hand(run, _RPM)
    for nth in range(6):
        hand.held(10 + nth * 150, 15 + nth * 150, str(nth), nth + 1)


@plant("rate", "a window that forgets what was not given back")
def _(run: Run) -> None:
    hand = Hand(run, _RPM)
    hand.held(10, 20, "a", 1, load=5)
    hand.release(30, 40, "a", {"rpm": 2}, used=3)
    hand.held(50, 60, "b", 2, load=2)
    hand.held(70, 80, "c", 3, load=1)


@plant("rate", "a lease that waited, and was granted in a full window")
def _(run: Run) -> None:
    hand = Hand(run, _RPM)
    hand.held(10, 20, "a", 1, load=5)
    hand.waits(30, 40, "b")
    hand.of_lease(50, 600, "look", "b", hand.shown("b", 2, 60_000) | {"charged": {"rpm": 1}}, wait_ms=2_000)


@plant("rate", "a bucket that is emptied twice")
def _(run: Run) -> None:
    hand = Hand(run, _TPM)
    for nth in range(5):
        hand.held(10 + nth * 20, 15 + nth * 20, str(nth), nth + 1)


@plant("rate", "a bucket that refills by a tenth too fast")
def _(run: Run) -> None:
    hand = Hand(run, _TPM)
    for nth in range(60):
        hand.held(10 + nth * 90, 12 + nth * 90, str(nth), nth + 1)


@plant("token", "one token for two leases")
def _(run: Run) -> None:
    hand = Hand(run, _TWO_SLOTS)
    # At the same time, so that neither is the later one.
    hand.held(10, 25, "a", 7)
    hand.held(12, 24, "b", 7)


@plant("token", "a later grant with a lower token")
def _(run: Run) -> None:
    hand = Hand(run, _TWO_SLOTS)
    hand.held(10, 20, "a", 7)
    hand.held(30, 40, "b", 6)


@plant("once", "two leases of one key")
def _(run: Run) -> None:
    hand = Hand(run, _TWO_SLOTS)
    hand.held(10, 20, "a", 1)
    hand.held(30, 40, "b", 2, key="key-a")


@plant("once", "one lease of two keys")
def _(run: Run) -> None:
    hand = Hand(run, _TWO_SLOTS)
    hand.held(10, 20, "a", 1)
    hand.held(30, 40, "a", 1, key="key-b")


@plant("once", "held again after it had expired")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1, left_ms=100)
    hand.look(500, 510, "a", "expired")
    hand.of_lease(600, 610, "look", "a", hand.shown("a", 1, 50))


@plant("once", "waiting again after it was held")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1)
    hand.look(30, 40, "a", "waiting")


@plant("once", "another token for the same lease")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1)
    hand.of_lease(30, 40, "look", "a", hand.shown("a", 2, 59_000))


@plant("once", "an expired lease that is released all the same")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1, left_ms=100)
    hand.look(500, 510, "a", "expired")
    hand.release(600, 610, "a")


@plant("release", "the second release gives back something else")
def _(run: Run) -> None:
    hand = Hand(run, _RPM)
    hand.held(10, 20, "a", 1, load=5)
    hand.release(30, 40, "a", {"rpm": 2}, used=3)
    hand.release(50, 60, "a", {"rpm": 1}, used=3)


@plant("release", "held after its release was answered")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1)
    hand.release(30, 40, "a")
    hand.of_lease(50, 60, "look", "a", hand.shown("a", 1, 59_000))


@plant("release", "its key holds it after its release was answered")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1)
    hand.release(30, 40, "a")
    hand.held(50, 60, "a", 1, left_ms=59_000)


@plant("order", "a later acquire is granted first")
def _(run: Run) -> None:
    hand = Hand(run, _TWO_SLOTS)
    hand.waits(10, 20, "a")
    hand.waits(30, 40, "b")
    hand.of_lease(50, 110, "look", "b", hand.shown("b", 1, 60_000), wait_ms=1_000)
    hand.of_lease(50, 112, "look", "a", hand.shown("a", 2, 60_000), wait_ms=1_000)


@plant("order", "a lower priority is granted first")
def _(run: Run) -> None:
    hand = Hand(run, _TWO_SLOTS)
    hand.waits(10, 20, "a", priority=2)
    hand.waits(30, 40, "b", priority=8)
    hand.of_lease(50, 110, "look", "b", hand.shown("b", 1, 60_000), wait_ms=1_000)
    hand.of_lease(50, 112, "look", "a", hand.shown("a", 2, 60_000), wait_ms=1_000)


@plant("order", "a newcomer is granted while another waits")
def _(run: Run) -> None:
    hand = Hand(run, _TWO_SLOTS)
    hand.waits(10, 20, "a")
    hand.held(30, 40, "b", 1)
    hand.look(50, 60, "a", "waiting")


@plant("place", "a place that is not found")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.waits(10, 20, "a")
    hand.of_lease(5_000, 5_010, "look", "a", {"code": "lease-not-found", "status": 404}, "refused")


@plant("place", "another place for the same key")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.waits(10, 20, "a")
    hand.waits(5_000, 5_010, "b", key="key-a")


@plant("place", "a place that is cancelled, though it was asked for")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.waits(10, 20, "a")
    hand.look(9_000, 9_010, "a", "waiting")
    hand.acquire(18_000, 18_010, "a", {"code": "lease-ended", "state": "cancelled"}, "refused")


@plant("place", "a lease that expires early")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1, left_ms=5_000)
    hand.of_lease(3_000, 3_010, "release", "a", {"code": "lease-expired", "status": 410}, "refused")


@plant("place", "a held lease that is not found")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1)
    hand.of_lease(30_000, 30_010, "extend", "a", {"code": "lease-not-found", "status": 404}, "refused", ttl_ms=1_000)


@plant("place", "a lease that nobody released is released")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1)
    hand.look(30, 40, "a", "released")


@plant("expiry", "a look tells more time than there was")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1, left_ms=5_000)
    hand.of_lease(100, 110, "look", "a", hand.shown("a", 1, 6_000))


@plant("expiry", "its key tells more time than its extension gave")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1, left_ms=5_000)
    hand.of_lease(100, 110, "extend", "a", hand.shown("a", 1, 3_000), ttl_ms=3_000)
    hand.held(200, 210, "a", 1, left_ms=4_800)


@plant("expiry", "a lease with half of the time that was asked for")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.held(10, 20, "a", 1, left_ms=1_000, ttl_ms=2_000)


@plant("waits", "a wait that is over early")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.acquire(10, 2_500, "a", {"code": "wait-timeout", "status": 429}, "refused", wait_ms=3_000)


@plant("waits", "a place that times out early")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    hand.waits(10, 20, "a", wait_ms=3_000)
    hand.look(1_000, 1_010, "a", "timed_out")
