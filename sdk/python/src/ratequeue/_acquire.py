"""Requested leases: the part that threads and asyncio share."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any, Callable, Generic, Optional, TypeVar

from . import _limited, _wire
from ._flows import Attempt
from ._lease import BaseLease
from ._runner import MakeFlow, Runner
from ._settings import OnUnavailable, OnWait, fallback
from ._wire import AcquireRequest, Load
from .errors import ConfigurationError, RateQueueError

R = TypeVar("R")
L = TypeVar("L")

ALREADY_ENTERED = "this acquire was used already: call acquire for each block, and for each open()"


class BaseAcquire(Generic[R, L]):
    """The part of a requested lease that threads and asyncio share."""

    def __init__(
        self,
        runners: Callable[[], R],
        refused: Callable[[RateQueueError], L],
        resource: str,
        load: Load,
        timeout: Optional[float],
        priority: int,
        ttl: Optional[float],
        idempotency_key: Optional[str],
        on_unavailable: Optional[OnUnavailable],
        metadata: Optional[Mapping[str, str]],
        on_wait: Optional[OnWait],
        patience: Optional[float],
    ) -> None:
        self._find_runners = runners
        self._refused = refused
        # Checked, and given a key, when it is used.
        self._make_request = functools.partial(
            _wire.acquire_request, resource, load, timeout, priority, ttl, idempotency_key, metadata, patience
        )
        self._on_unavailable = None if on_unavailable is None else fallback(on_unavailable)
        self._on_wait = on_wait
        self._begun = itertools.count()
        self._lease: Any = None
        self._before: Any = None

    def _begin(self) -> tuple[R, AcquireRequest]:
        # Counted in one step: several threads or tasks may come at once, and only the first gets a lease.
        if next(self._begun):
            raise ConfigurationError(ALREADY_ENTERED)
        return self._find_runners(), self._make_request()

    def _enter(self, lease: L) -> L:
        self._lease = lease
        if isinstance(lease, BaseLease):
            self._before = _limited.enter(lease)
        return lease

    def _leave(self) -> Any:
        """Returns the lease of the block that ends, if there is one to release."""
        lease = self._lease
        if lease is not None:
            _limited.leave(lease, self._before)
        return lease


def owing(runner: Runner, request: AcquireRequest) -> tuple[Attempt, MakeFlow]:
    """Returns a new attempt and the flow that gives it up, which the runner owes until the attempt has ended."""
    attempt = Attempt()

    def give_up() -> Any:
        return runner.core.give_up(request, attempt, runner.core.settings.patience)

    runner.owed[attempt] = give_up
    return attempt, give_up


def reraise(error: RateQueueError) -> Any:
    raise error


def none_if_refused(error: RateQueueError) -> None:
    return None
