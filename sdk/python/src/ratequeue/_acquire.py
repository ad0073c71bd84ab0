"""An acquire that was asked for: the part that threads and asyncio share."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Generic, Optional, TypeVar

from . import _limited
from ._flows import Attempt
from ._lease import BaseLease
from ._runner import MakeFlow, Runner
from ._settings import OnUnavailable, OnWait
from ._wire import AcquireRequest
from .errors import ConfigurationError, RateQueueError

C = TypeVar("C")
L = TypeVar("L")

ALREADY_ENTERED = "this acquire was used already: call acquire for each block, and for each open()"


class BaseAcquire(Generic[C, L]):
    """An acquire that was asked for."""

    def __init__(
        self,
        client: Callable[[], C],
        request: Callable[[], AcquireRequest],
        on_unavailable: Optional[OnUnavailable],
        on_wait: Optional[OnWait],
        refused: Callable[[RateQueueError], L],
    ) -> None:
        self._make_client = client
        self._make_request = request
        self._on_unavailable = on_unavailable
        self._on_wait = on_wait
        self._refused = refused
        self._begun = itertools.count()
        self._lease: Any = None
        self._before: Any = None

    def _begin(self) -> tuple[C, AcquireRequest]:
        # Counted in one step: several threads or tasks may come at once, and only the first gets a lease.
        if next(self._begun):
            raise ConfigurationError(ALREADY_ENTERED)
        return self._make_client(), self._make_request()

    def _enter(self, lease: L) -> L:
        self._lease = lease
        if isinstance(lease, BaseLease):
            self._before = _limited.enter(lease)
        return lease

    def _leave(self) -> Any:
        """The lease of the block, if there is one to release."""
        lease = self._lease
        if lease is not None:
            _limited.leave(lease, self._before)
        return lease


def owing(runner: Runner, request: AcquireRequest) -> tuple[Attempt, MakeFlow]:
    """An attempt, and what gives up what it comes to; owed until somebody else does."""
    attempt = Attempt()

    def give_up() -> Any:
        return runner.core.give_up(request, attempt, runner.core.settings.patience)

    runner.owed[attempt] = give_up
    return attempt, give_up


def reraise(error: RateQueueError) -> Any:
    raise error


def none_if_refused(error: RateQueueError) -> None:
    return None
