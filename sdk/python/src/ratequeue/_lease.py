"""A lease, and the heartbeat that keeps it. One implementation for threads and for asyncio."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Callable, Generic, Optional, Protocol, TypeVar

from . import _usage, _wire
from ._flows import Core, Grant
from ._retry import Flow
from ._wire import Ask, Load
from .errors import LeaseLost, RateQueueError

log = logging.getLogger("ratequeue")

BEAT_AFTER = 1 / 3
"""A lease is extended when this part of its time has passed."""
BEAT_MIN = 0.01


class Event(Protocol):
    """What ``threading.Event`` and ``asyncio.Event`` have in common."""

    def set(self) -> Any: ...
    def is_set(self) -> bool: ...


class Timer(Protocol):
    def cancel(self) -> Any: ...


CallLater = Callable[[float, Callable[[], object]], Timer]
Background = Callable[[Flow[None]], object]
E = TypeVar("E", bound=Event)


class BaseLease(Generic[E]):
    """A lease that is held. It is given back at the end of its block.

    Everything that relies on it (:attr:`fencing_token`, :meth:`check`, :meth:`report`, :meth:`report_from`) raises
    :class:`~ratequeue.LeaseLost` once it may no longer be relied on.
    """

    def __init__(self, core: Core, ask: Ask, grant: Grant, lost: E) -> None:
        self._core = core
        self._ask = ask
        self._grant = grant
        self._used: Optional[Load] = None
        self._trusted_until = grant.trusted_until
        self._why = "its time to live ran out before it could be extended"
        self._pid = os.getpid()
        self.lost = lost
        """An event that is set once the lease may no longer be relied on."""

    @property
    def id(self) -> str:
        """The id of the lease, the same for its whole life."""
        return self._grant.view.id

    @property
    def resource(self) -> str:
        """The resource it was granted for."""
        return self._grant.view.resource

    @property
    def waited(self) -> float:
        """Seconds for which it waited in line."""
        return self._grant.view.waited

    @property
    def charged(self) -> Mapping[str, int]:
        """What each limit was charged, without zeros."""
        return self._grant.view.charged

    @property
    def degraded(self) -> bool:
        """True when no node granted it: it stands in while none can be reached (``on_unavailable``)."""
        return self._grant.degraded

    @property
    def expires_in(self) -> float:
        """Seconds for which it may still be relied on, if it is not extended; 0.0 when it is lost, 31 days when degraded."""
        left = min(self._trusted_until - self._core.clock(), _wire.DURATION_MS_MAX / 1000)
        return 0.0 if self.lost.is_set() else max(0.0, left)

    @property
    def fencing_token(self) -> int:
        """A number that is higher than that of every earlier lease of the resource; 0 when :attr:`degraded`.

        Pass it to what you write to, which should refuse numbers lower than the highest it has seen. Raises
        :class:`~ratequeue.LeaseLost`.
        """
        self.check()
        return self._grant.view.fencing_token

    def check(self) -> None:
        """Raises :class:`~ratequeue.LeaseLost` once the lease may no longer be relied on."""
        if not self.lost.is_set() and self._core.clock() >= self._trusted_until:
            self.lost.set()
        if self.lost.is_set():
            raise LeaseLost(
                f"the lease {self.id} of {self.resource} is lost: {self._why}. Stop the work, and acquire again; "
                "if the work takes long, give a longer ttl."
            )

    def report(self, used: Load) -> None:
        """Says how much was used in all, in the unit of the load; it is told to the server at the end of the block.

        Less than the load is given back, more is charged. The last report counts. Raises
        :class:`~ratequeue.ConfigurationError` for what is no load, :class:`~ratequeue.LeaseLost`.
        """
        used = _wire.check_load("used", used)
        self.check()
        self._used = used

    def report_from(self, response: Any) -> Optional[Load]:
        """Reports the usage that an answer of OpenAI, Anthropic or LangChain carries, and gives it.

        None, and nothing is reported, when the answer carries none (OpenAI's streams carry it with
        ``stream_options={"include_usage": True}``, in the last chunk). Raises :class:`~ratequeue.LeaseLost`.
        """
        used = _usage.used(response, self._ask.load)
        if used is None:
            log.warning("the answer says nothing about usage, so the whole load of lease %s stays charged", self.id)
            self.check()
            return None
        self.report(used)
        return used

    def __repr__(self) -> str:
        state = "lost" if self.lost.is_set() else "degraded" if self.degraded else "held"
        return f"<{type(self).__name__} {self.id} of {self.resource}, {state}>"

    def _closing(self) -> Optional[Flow[bool]]:
        """What is to be done at the end of the block."""
        if self._pid != os.getpid():
            # It belongs to the parent process.
            return None
        if self._grant.degraded:
            if self._grant.free is not None:
                self._grant.free()
            return None
        return self._core.release(self.id, self._used, self._trusted_until)


class Heart(Generic[E]):
    """Extends a lease in the background, and says when it is lost."""

    def __init__(self, lease: BaseLease[E], call_later: CallLater, background: Background) -> None:
        self._lease = lease
        self._call_later = call_later
        self._background = background
        self._timers: list[Timer] = []
        self._stopped = lease.degraded

    def start(self) -> None:
        """Starts, or starts over with the lease's present deadline."""
        self._cancel()
        if self._stopped:
            return
        left = self._lease._trusted_until - self._lease._core.clock()
        self._timers = [
            self._call_later(max(left, 0.0), self._over),
            self._call_later(max(left * BEAT_AFTER, BEAT_MIN), self._beat_due),
        ]

    def stop(self) -> None:
        self._stopped = True
        self._cancel()

    def _cancel(self) -> None:
        timers, self._timers = self._timers, []
        for timer in timers:
            timer.cancel()

    def _over(self) -> None:
        if not self._stopped and self._lease._core.clock() >= self._lease._trusted_until:
            self._lose(None)

    def _beat_due(self) -> None:
        if self._stopped:
            return
        try:
            self._background(self._beat())
        except Exception as error:
            # Without a thread for it now, there may be one in a moment.
            log.warning("lease %s could not be extended: %s", self._lease.id, error)
            self._again()

    def _beat(self) -> Flow[None]:
        lease = self._lease
        ttl_ms: Optional[int] = lease._ask.fields.get("ttl_ms")
        try:
            until = yield from lease._core.extend(lease.id, ttl_ms, lease._trusted_until)
        except LeaseLost as error:
            self._lose(error)
        except RateQueueError as error:
            # There may be time for another try.
            log.info("lease %s could not be extended: %s", lease.id, error)
            self._again()
        else:
            lease._trusted_until = until
            self.start()

    def _again(self) -> None:
        """Beats once more while there is time; when there is none, the lease is about to be lost."""
        if self._lease._core.clock() < self._lease._trusted_until:
            self.start()

    def _lose(self, why: Optional[LeaseLost]) -> None:
        if self._stopped:
            return
        self.stop()
        if why is not None:
            self._lease._why = f"the server has ended it ({why.state or why.code})"
        log.warning("lease %s of %s is lost", self._lease.id, self._lease.resource)
        self._lease.lost.set()
