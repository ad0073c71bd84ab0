"""The limiter within this process, sized as a fraction of the last known limits, or of those that were given.

It stands in while no node can be reached and the caller chose ``on_unavailable=local(fraction)``. Each process keeps to
its own part, so ``fraction`` is 1 / (number of processes) for the whole to keep within the limits. A part of a rate is at
most ``quota * fraction`` in any window; a bucket is treated as such a window too, which is stricter.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Optional, Union

from ._resource import LimitSettings
from ._wire import Load, is_number
from .errors import ConfigurationError

DENOMINATOR_MAX = 10**9
POLL = 0.05
"""Seconds between two looks at a concurrency limit."""


@dataclass(frozen=True)
class Local:
    """Fraction of the limits that this process may use by itself; made by :func:`local`."""

    fraction: Fraction
    limits: Optional[Mapping[str, Mapping[str, Any]]] = field(default=None, hash=False)


def local(fraction: Union[float, Fraction], limits: Optional[Mapping[str, LimitSettings]] = None) -> Local:
    """Returns a value for ``on_unavailable``: limit in this process to a fraction (over 0, at most 1) of the last known limits.

    Take 1 / (number of processes); a float counts as the fraction with a denominator of up to 10**9 that is nearest to it, so that
    ``1 / 49`` of 49 is 1. ``limits`` are those of the resource, as :meth:`ratequeue.Resources.put` takes them: they count until a
    node has said what the limits are, so that a process can start while no node decides. While none are known, or the part of
    one of them is less than the load, the call fails as with ``"deny"``.
    """
    if not is_number(fraction) or not 0 < fraction <= 1:
        raise ConfigurationError(f"local: the fraction is {fraction!r}: give a number over 0 and at most 1")
    return Local(Fraction(fraction).limit_denominator(DENOMINATOR_MAX), _checked(limits))


def _checked(limits: Optional[Mapping[str, Any]]) -> Optional[Mapping[str, Mapping[str, Any]]]:
    if limits is None:
        return None
    for name, limit in limits.items() if isinstance(limits, Mapping) and limits else [("", {})]:
        limit = limit if isinstance(limit, Mapping) else {}
        kind = limit.get("kind")
        needed = {"rate": ("quota", "window_ms"), "concurrency": ("quota",)}.get(str(kind), ())
        if not needed or not all(isinstance(limit.get(key), int) for key in needed):
            raise ConfigurationError(
                f"local: limits[{name!r}] is {limit!r}: give them as in resources.put: kind and quota, and window_ms for a rate"
            )
    return {name: dict(limit) for name, limit in limits.items()}


def cost(limit: Mapping[str, Any], load: Load) -> int:
    """Returns the cost of a load in units of a limit, as the server counts it."""
    kind = limit.get("cost") or ("one" if limit["kind"] == "concurrency" else "load")
    if kind == "one":
        return 1
    if kind == "load":
        return load if isinstance(load, int) else sum(load.values())
    return 0 if isinstance(load, int) else load.get(kind, 0)


class _Limit:
    def __init__(self, view: Mapping[str, Any], fraction: Fraction) -> None:
        self.view = view
        self.resize(view, fraction)
        self.used = 0
        self._charges: deque[tuple[float, int]] = deque()

    def resize(self, view: Mapping[str, Any], fraction: Fraction) -> None:
        self.view = view
        self.window = view.get("window_ms", 0) / 1000
        self.quota = math.floor(view["quota"] * fraction)

    @property
    def is_rate(self) -> bool:
        return bool(self.view["kind"] == "rate")

    def wait(self, amount: int, now: float) -> float:
        """Returns the seconds until an amount may fit; 0 if it fits now, infinity if it never does."""
        if amount > self.quota:
            return float("inf")
        while self._charges and self._charges[0][0] <= now - self.window:
            self.used -= self._charges.popleft()[1]
        if self.used + amount <= self.quota:
            return 0.0
        return self._charges[0][0] + self.window - now if self.is_rate else POLL

    def charge(self, amount: int, now: float) -> None:
        self.used += amount
        if self.is_rate and amount:
            self._charges.append((now, amount))

    def free(self, amount: int) -> None:
        if not self.is_rate:
            self.used -= amount


Charged = list[tuple[_Limit, int]]
"""Amounts that an acquire charged, by limit."""


class LocalLimiter:
    """The limits of one resource, in this process. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: dict[str, _Limit] = {}
        self._freed: deque[Charged] = deque()

    def resize(self, limits: Mapping[str, Mapping[str, Any]], fraction: Fraction) -> None:
        """Adopts the last known limits. Those that keep their name and kind keep what is in use."""
        with self._lock:
            before, self._limits = self._limits, {}
            for name, view in limits.items():
                limit = before.get(name)
                if limit is None or limit.view["kind"] != view["kind"]:
                    limit = _Limit(view, fraction)
                limit.resize(view, fraction)
                self._limits[name] = limit

    def acquire(self, load: Load, now: float) -> tuple[float, Charged]:
        """Charges all limits and returns 0, or charges none and returns the seconds until another try is worth it."""
        with self._lock:
            while self._freed:
                for limit, amount in self._freed.popleft():
                    limit.free(amount)
            costs = [(limit, cost(limit.view, load)) for limit in self._limits.values()]
            wait = max(limit.wait(amount, now) for limit, amount in costs)
            if wait > 0:
                return wait, []
            for limit, amount in costs:
                limit.charge(amount, now)
            return 0.0, costs

    def release(self, charged: Charged) -> None:
        """Frees what an acquire charged, also when the limits have changed since.

        Takes no lock: the lease may be collected while this thread holds it.
        """
        self._freed.append(charged)
