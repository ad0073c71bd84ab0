"""Those who call: many that acquire and release, and one that looks what goes on at 507."""
from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter, deque
from typing import Any

from node import CALL_MAX_S, Caller, Node, Wrong, once

RELEASES_PER_S = 4
_ACQUIRE = "/v1/resources/jobs/acquire"
_METADATA_BYTES = 900
_LONG_TTL_MS = 900_000
_EXPIRY_GRACE_S = 1.5
_PAUSE_AT_507_S = 0.05


def new_acquire(ttl_ms: int) -> dict[str, Any]:
    return {"ttl_ms": ttl_ms, "metadata": {"job": os.urandom(_METADATA_BYTES // 2).hex()}}


def is_full(status: int, body: Any) -> bool:
    return status == 507 and body["code"] == "storage-full"


class Calls:
    """What all callers saw."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.first_507: float | None = None
        self.ending = threading.Event()
        self._lock = threading.Lock()
        self._begun = time.monotonic()

    def since_begin(self) -> float:
        return time.monotonic() - self._begun

    def count(self, what: str) -> None:
        with self._lock:
            self.seen[what] += 1
            if what == "507" and self.first_507 is None:
                self.first_507 = self.since_begin()

    def complain(self, what: str) -> None:
        with self._lock:
            self.wrong.append(f"at {self.since_begin():.1f} s {what}")

    def run(self) -> None:
        """One caller: acquires, releases, and again."""
        caller, place = Caller("", CALL_MAX_S), ""
        while not self.ending.is_set():
            epoch = self.node.epoch
            if epoch % 2 == 1:
                time.sleep(_PAUSE_AT_507_S)
                continue
            if place != self.node.place:
                caller.close()
                place = self.node.place
                caller = Caller(place, CALL_MAX_S)
            try:
                self._acquire_and_release(caller, epoch)
            except OSError as error:
                if self.node.epoch == epoch:
                    self.complain(f"a call had no answer: {error!r}")
                    time.sleep(_PAUSE_AT_507_S)
        caller.close()

    def _acquire_and_release(self, caller: Caller, epoch: int) -> None:
        status, body = caller.call("POST", _ACQUIRE, new_acquire(_LONG_TTL_MS))
        if status == 200:
            self.count("granted")
            self._release(caller, body["id"], epoch)
        elif is_full(status, body):
            self.count("507")
            time.sleep(_PAUSE_AT_507_S)
        elif self.node.epoch == epoch:
            self.complain(f"an acquire was answered {status}: {body}")
            time.sleep(_PAUSE_AT_507_S)

    def _release(self, caller: Caller, lease: str, epoch: int) -> None:
        """Until it is answered: what was granted is there after a restart, and what was released stays so."""
        while not self.ending.is_set():
            with contextlib.suppress(OSError):
                status, body = caller.call("POST", f"/v1/leases/{lease}/release", {})
                if status == 200:
                    return self.count("released")
                if status != 503 or self.node.epoch == epoch:
                    return self.complain(f"a release was answered {status}: {body}")
            if self.node.epoch == epoch:
                return self.complain("a release had no answer")
            time.sleep(_PAUSE_AT_507_S)
            caller.place = self.node.place


class Probes:
    """Leases that are held from the beginning, to be released or to expire at 507."""

    def __init__(self, node: Node, calls: Calls) -> None:
        self.releases: Counter[str] = Counter()
        self.expiries: Counter[str] = Counter()
        self._node = node
        self._calls = calls
        self._held: deque[str] = deque()
        # When to look, the lease, and the epoch in which that was reckoned: log time stands still while the node is down.
        self._expiring: deque[tuple[float, str, int]] = deque()

    def prepare(self, seconds: int) -> None:
        """One that expires and some to be released for every second of the run."""
        for second in range(1, seconds):
            sent = time.monotonic()
            self._expiring.append((sent + second + _EXPIRY_GRACE_S, self._grant(second * 1000), self._node.epoch))
            for _ in range(RELEASES_PER_S):
                self._held.append(self._grant(_LONG_TTL_MS))

    def _grant(self, ttl_ms: int) -> str:
        status, body = self._call("POST", _ACQUIRE, new_acquire(ttl_ms))
        if status != 200:
            raise Wrong(f"the first acquires were answered {status}: {body}")
        return str(body["id"])

    def round(self, phase: str) -> bool:
        """Whether there is no room, before and after a release and the expiries that are due."""
        full = self._finds_no_room()
        # An ended lease may be forgotten after a minute: its expiry is looked at in any case.
        expired = self._look_at_due()
        released = self._release_one() if full else 0
        if not self._finds_no_room() or not full:
            return False
        self.releases[phase] += released
        self.expiries[phase] += expired
        return True

    def _finds_no_room(self) -> bool:
        status, body = self._call("POST", _ACQUIRE, new_acquire(_LONG_TTL_MS))
        if status == 200:
            self._held.append(body["id"])
            return False
        if not is_full(status, body):
            raise Wrong(f"an acquire was answered {status}: {body}")
        return True

    def _release_one(self) -> int:
        if not self._held:
            return 0
        status, body = self._call("POST", f"/v1/leases/{self._held.popleft()}/release", {})
        if status != 200:
            raise Wrong(f"at 507 a release was answered {status}: {body}")
        return 1

    def _look_at_due(self) -> int:
        expired, now = 0, time.monotonic()
        while self._expiring and self._expiring[0][0] <= now:
            _, lease, epoch = self._expiring.popleft()
            status, body = self._call("GET", f"/v1/leases/{lease}")
            if status == 200 and body["state"] == "expired":
                expired += 1
            elif status == 200 and body["state"] == "held" and epoch != self._node.epoch:
                again = now + body["expires_in_ms"] / 1000 + _EXPIRY_GRACE_S
                self._expiring.append((again, lease, self._node.epoch))
            else:
                raise Wrong(f"{_EXPIRY_GRACE_S} s after its deadline a lease is answered {status}: {body}")
        self._expiring = deque(sorted(self._expiring))
        return expired

    def _call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        try:
            return once(self._node.place, method, path, body)
        except OSError as error:
            # The reason, if it is one, is that it has ended.
            time.sleep(1)
            self._node.expect_running()
            raise Wrong(f"{method} {path} had no answer: {error!r}") from error
