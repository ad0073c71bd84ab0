"""Callers that acquire and release without a pause, and count by themselves how many leases are held at once."""
from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter
from typing import Any

from nodes import Breach, Caller, Cluster, eventually

QUOTA = 3
CALLERS = 5
_CALL_MAX_S = 10.0
_HOLD_S = 0.02
_PAUSE_S = 0.05
_GO_ON_MAX_S = 120.0
# Longer than a run: a lease ends because it is released, or it was lost.
_TTL_MS = 900_000
_WAIT_MS = 5_000


class Load:
    """Callers of one resource for each placement. What has no answer they repeat, with its key."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.breaches: list[str] = []
        self.granted: Counter[str] = Counter()
        self.held_max: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._cluster, self._seed = cluster, seed
        self._lock = threading.Lock()
        self._callers: dict[str, tuple[threading.Event, list[threading.Thread]]] = {}

    def add(self, placement: str) -> None:
        ending = threading.Event()
        threads = [threading.Thread(target=self._call, args=(placement, ending, nth), daemon=True)
                   for nth in range(CALLERS)]
        self._callers[placement] = (ending, threads)
        for thread in threads:
            thread.start()

    def stop(self, *placements: str) -> None:
        """Ends callers, each once its lease is released."""
        for placement in placements or list(self._callers):
            ending, threads = self._callers.pop(placement)
            ending.set()
            for thread in threads:
                thread.join()

    def goes_on(self, *placements: str) -> None:
        """Waits until every caller of these could have been granted something since now."""
        for placement in placements:
            before = self.granted[placement]
            eventually(f"acquires of placement {placement} go on",
                       lambda: bool(self.breaches) or self.granted[placement] >= before + CALLERS, _GO_ON_MAX_S)
        if self.breaches:
            raise Breach("; ".join(self.breaches[:3]))

    def _call(self, placement: str, ending: threading.Event, nth: int) -> None:
        chance = random.Random(f"{self._seed} {placement} {nth}")
        while not ending.is_set():
            lease = self._acquire(placement, chance, ending)
            if lease is None:
                continue
            with self._lock:
                # Counted after it was granted and until before it is released: never more than are held.
                self.granted[placement] += 1
                self._held[placement] += 1
                self.held_max[placement] = max(self.held_max[placement], self._held[placement])
                if self._held[placement] > QUOTA:
                    self.breaches.append(f"{self._held[placement]} leases of {placement} were held at once")
            time.sleep(_HOLD_S)
            with self._lock:
                self._held[placement] -= 1
            self._release(lease, chance)

    def _acquire(self, placement: str, chance: random.Random, ending: threading.Event) -> str | None:
        key = str(uuid.UUID(int=chance.getrandbits(128)))
        body = {"wait_ms": _WAIT_MS, "hold_ms": _WAIT_MS, "ttl_ms": _TTL_MS}
        while True:
            status, answer = self._anywhere(chance, "POST", f"/v1/resources/load-{placement}/acquire", body, key)
            if status == 200:
                return str(answer["id"])
            # Ended in the queue, or not granted: the next request.
            if status in (410, 429):
                return None
            if status not in (0, 202, 503):
                self.breaches.append(f"an acquire of load-{placement} was answered {status}: {answer}")
                ending.set()
                return None
            time.sleep(_PAUSE_S)

    def _release(self, lease: str, chance: random.Random) -> None:
        until = time.monotonic() + _GO_ON_MAX_S
        while True:
            status, answer = self._anywhere(chance, "POST", f"/v1/leases/{lease}/release", {}, None)
            if status == 200 and answer["state"] == "released":
                return
            if status not in (0, 503) or time.monotonic() > until:
                self.breaches.append(f"the release of {lease} was answered {status}: {answer}")
                return
            time.sleep(_PAUSE_S)

    def _anywhere(self, chance: random.Random, method: str, path: str, body: Any,
                  key: str | None) -> tuple[int, Any]:
        """One call, at any of the nodes of the file, dead ones too."""
        caller = Caller(self._cluster.place(chance.choice(sorted(self._cluster.regions))), _CALL_MAX_S)
        try:
            return caller.call(method, path, body, key)
        except OSError as error:
            return 0, repr(error)
        finally:
            caller.close()
