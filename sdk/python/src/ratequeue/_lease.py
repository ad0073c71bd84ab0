"""A lease, and the heartbeat that keeps it. One implementation for threads and for asyncio.

The handle that the caller has and the heart that beats in the background share the state of the lease, and the heart knows nothing
of the handle. So a handle that nobody has any more is collected; then the heart stops, and the lease is released.
"""

from __future__ import annotations

import logging
import os
import warnings
import weakref
from collections.abc import Mapping
from functools import partial
from typing import Any, Generic, Optional, Protocol, TypeVar

from . import _usage, _wire
from ._flows import Core, Grant
from ._retry import Flow
from ._runner import MakeFlow, Runner, Timer
from ._wire import AcquireRequest, Load
from .errors import LeaseLost, RateQueueError

log = logging.getLogger("ratequeue")

BEAT_AFTER = 1 / 3
"""Fraction of its time to live after which a lease is extended."""
BEAT_MIN = 0.01
EXTENSIONS_MAX = 3
"""Tries of a caller's extension while another one is under way."""


class Event(Protocol):
    """The common part of ``threading.Event`` and ``asyncio.Event``."""

    def set(self) -> Any: ...
    def is_set(self) -> bool: ...


E = TypeVar("E", bound=Event)


class State(Generic[E]):
    """State that the handle of a lease and its heart share."""

    def __init__(self, runner: Runner, request: AcquireRequest, grant: Grant, lost: E) -> None:
        self.runner = runner
        self.core: Core = runner.core
        self.request = request
        self.grant = grant
        self.lost = lost
        self.ttl_ms: Optional[int] = request.fields.get("ttl_ms")
        self.trusted_until = grant.trusted_until
        self.used: Optional[Load] = None
        self.released = False
        self.why = "its time to live ran out before it could be extended"
        self.pid = os.getpid()
        # Extensions: those under way, and the one that was begun last.
        self._under_way: list[object] = []
        self._latest: Optional[object] = None
        runner.owed[self] = self.release

    @property
    def id(self) -> str:
        return self.grant.view.id

    def release(self) -> Flow[bool]:
        self.released = True
        return self.core.release(self.id, self.used, self.trusted_until, self.lost.is_set())

    def ending(self) -> Optional[MakeFlow]:
        """Returns the flow that gives it back, if there is one, and the first time only."""
        self.released = True
        if self.pid != os.getpid() or self not in self.runner.owed:
            return None
        if not self.grant.degraded:
            return self.release
        del self.runner.owed[self]
        if self.grant.free is not None:
            self.grant.free()
        return None

    def extend(self) -> Flow[bool]:
        """Extends it by its time to live. Returns False when another extension was under way at the same time."""
        if self.grant.degraded:
            return True
        this, alone = object(), not self._under_way
        self._under_way.append(this)
        self._latest = this
        try:
            until = yield from self.core.extend(self.id, self.ttl_ms, self.trusted_until)
        finally:
            self._under_way.remove(this)
        alone = alone and self._latest is this
        # With several at once it is not known which of them the server decided last.
        self.trusted_until = until if alone else min(until, self.trusted_until)
        return alone


class BaseLease(Generic[E]):
    """The part of a held lease that threads and asyncio share."""

    def __init__(self, runner: Runner, request: AcquireRequest, grant: Grant, lost: E) -> None:
        self._state = State(runner, request, grant, lost)
        self._heart = Heart(self._state)
        # Not at the end of the process, which gives back what is owed anyway.
        self._dropped = weakref.finalize(self, _drop, self._state, self._heart)
        self._dropped.atexit = False

    @property
    def id(self) -> str:
        """The id of the lease, the same for its whole life."""
        return self._state.id

    @property
    def resource(self) -> str:
        """The resource it was granted for."""
        return self._state.grant.view.resource

    @property
    def lost(self) -> E:
        """An event that is set once the lease may no longer be relied on, but not by its release."""
        return self._state.lost

    @property
    def released(self) -> bool:
        """True once it was released, or its release has begun."""
        return self._state.released

    @property
    def waited(self) -> float:
        """Seconds for which it waited in the queue."""
        return self._state.grant.view.waited

    @property
    def charged(self) -> Mapping[str, int]:
        """Amounts it was charged, by limit; empty when :attr:`degraded`."""
        return self._state.grant.view.charged

    @property
    def degraded(self) -> bool:
        """True when ``on_unavailable`` granted it, and no node."""
        return self._state.grant.degraded

    @property
    def expires_in(self) -> float:
        """Seconds for which it may be relied on, if it is not extended; 0.0 when it is lost or released, 31 days when degraded."""
        left = min(self._state.trusted_until - self._state.core.clock(), _wire.DURATION_MS_MAX / 1000)
        return 0.0 if self.lost.is_set() or self.released else max(0.0, left)

    @property
    def fencing_token(self) -> int:
        """A number that is higher than that of every earlier lease of the resource; 0 when :attr:`degraded`.

        Pass it to what you write to, which should refuse numbers lower than the highest it has seen. Raises
        :class:`~ratequeue.LeaseLost`.
        """
        self.check()
        return self._state.grant.view.fencing_token

    def check(self) -> None:
        """Raises :class:`~ratequeue.LeaseLost` once the lease may no longer be relied on."""
        state = self._state
        if state.released:
            raise LeaseLost(
                f"the lease {self.id} of {self.resource} was released. Use it before the end of its block, or acquire again.",
                state="released",
            )
        if not self.lost.is_set() and state.core.clock() >= state.trusted_until:
            self.lost.set()
        if self.lost.is_set():
            raise LeaseLost(
                f"the lease {self.id} of {self.resource} is lost: {state.why}. Stop the work, and acquire again; "
                "if the work takes long, give a longer ttl."
            )

    def report(self, used: Load) -> None:
        """Reports how much was used in all, in the unit of the load; the release sends it to the server.

        Less than the load is given back, more is charged. The last report counts. Raises
        :class:`~ratequeue.ConfigurationError` for what is no load, :class:`~ratequeue.LeaseLost`.
        """
        used = _wire.check_load("used", used)
        self.check()
        self._state.used = used

    def report_from(self, response: Any) -> Optional[Load]:
        """Reports the usage that an answer of OpenAI, Anthropic or LangChain carries, and returns it.

        Returns None, and reports nothing, when the answer carries none (OpenAI's streams carry it with
        ``stream_options={"include_usage": True}``, in the last chunk). Raises :class:`~ratequeue.LeaseLost`.
        """
        used = _usage.used(response, self._state.request.load)
        if used is None:
            self.check()
            log.warning("the answer says nothing about usage, so the whole load of lease %s stays charged", self.id)
            return None
        self.report(used)
        return used

    def __repr__(self) -> str:
        lost = "lost" if self.lost.is_set() else "degraded" if self.degraded else "held"
        return f"<{type(self).__name__} {self.id} of {self.resource}, {'released' if self.released else lost}>"

    def _ending(self) -> Optional[MakeFlow]:
        """Returns the flow that releases it; None when there is nothing to do, or not by this process."""
        make = self._state.ending()
        self._heart.stop()
        if make is None:
            self._dropped.detach()
        return make

    def _ended(self, kept: Optional[bool]) -> None:
        """Records that the release is done, or goes on in the background."""
        self._state.runner.owed.pop(self._state, None)
        self._dropped.detach()
        if kept is False:
            self.lost.set()

    def _extending(self, ttl: Optional[float]) -> Flow[None]:
        """Returns the flow that extends it once. Raises :class:`~ratequeue.LeaseLost`."""
        self.check()
        return self._heart.extend(None if ttl is None else _wire.milliseconds("ttl", ttl, 1))


def _drop(state: State[Any], heart: Heart[Any]) -> None:
    """Releases the lease of a handle that was collected, since nobody else can any more."""
    if state.pid != os.getpid() or state not in state.runner.owed:
        return
    try:
        state.runner.call_soon(partial(_let_go, state, heart))
    finally:
        warnings.warn(
            f"the lease {state.id} of {state.grant.view.resource} was dropped, and is released now: use it in a with block, or "
            "call release()",
            ResourceWarning,
            stacklevel=2,
        )


def _let_go(state: State[Any], heart: Heart[Any]) -> None:
    heart.stop()
    make = state.ending()
    if make is not None:
        state.runner.in_background(make)
        state.runner.owed.pop(state, None)


class Heart(Generic[E]):
    """Extends a lease in the background, and marks it when it is lost."""

    def __init__(self, state: State[E]) -> None:
        self._state = state
        self._timers: list[Timer] = []
        self._stopped = state.grant.degraded

    def start(self) -> None:
        """Starts the timers, or starts them over with the lease's present deadline."""
        self._cancel()
        if self._stopped:
            return
        state = self._state
        left = state.trusted_until - state.core.clock()
        self._timers = [
            state.runner.call_later(max(left, 0.0), self._over),
            state.runner.call_later(max(left * BEAT_AFTER, BEAT_MIN), self._beat_due),
        ]

    def stop(self) -> None:
        self._stopped = True
        self._cancel()

    def extend(self, ttl_ms: Optional[int]) -> Flow[None]:
        """Extends the lease for its caller, from now on by this time to live.

        Raises what is in the way. The beats go on unless the lease is lost.
        """
        if ttl_ms is not None:
            self._state.ttl_ms = ttl_ms
        # No new beat meanwhile. One may be under way, and then its deadline may be the one that holds.
        self._cancel()
        try:
            for _ in range(EXTENSIONS_MAX):
                if (yield from self._state.extend()):
                    break
        except LeaseLost as error:
            self._lose(error)
            raise
        finally:
            self.start()

    def _cancel(self) -> None:
        timers, self._timers = self._timers, []
        for timer in timers:
            timer.cancel()

    def _over(self) -> None:
        if not self._stopped and self._state.core.clock() >= self._state.trusted_until:
            self._lose(None)

    def _beat_due(self) -> None:
        if self._stopped:
            return
        try:
            self._state.runner.in_background(self._beat)
        except Exception as error:
            # Without a thread for it now, there may be one in a moment.
            log.warning("lease %s could not be extended: %s", self._state.id, error)
            self._again()

    def _beat(self) -> Flow[None]:
        try:
            yield from self._state.extend()
        except LeaseLost as error:
            self._lose(error)
        except RateQueueError as error:
            # There may be time for another try.
            log.info("lease %s could not be extended: %s", self._state.id, error)
            self._again()
        else:
            self.start()

    def _again(self) -> None:
        """Starts the timers once more while there is time; when there is none, the lease is about to be lost."""
        if self._state.core.clock() < self._state.trusted_until:
            self.start()

    def _lose(self, why: Optional[LeaseLost]) -> None:
        if self._stopped:
            return
        self.stop()
        if why is not None:
            self._state.why = f"the server has ended it ({why.state or why.code})"
        log.warning("lease %s of %s is lost: %s", self._state.id, self._state.grant.view.resource, self._state.why)
        self._state.lost.set()
