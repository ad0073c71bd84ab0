"""Flows of the clients (see :mod:`ratequeue._retry`): acquire, give up, release, extend, and decide in place of the server."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional

from . import _admin, _answers, _clock, _retry, _wire
from ._answers import LeaseView
from ._local import Local, LocalLimiter
from ._nodes import Nodes
from ._recent import Recent
from ._retry import Background, Cut, Flow, Pause, Progress
from ._settings import OnUnavailable, Settings
from ._wire import AcquireRequest, Answer, Call, Load
from .errors import LeaseLost, RateQueueError, Rejected, Unavailable, WaitTimeout

log = logging.getLogger("ratequeue")

TROUBLE = 5.0
"""Seconds for which an acquire goes on beyond its own wait, when nodes cannot be reached or answer late."""
FALLBACK_AFTER = 3.0
"""Seconds without a decision after which ``on_unavailable`` comes into force."""
LAST_POLL = 1.0
"""Time left below which an answer that the lease still waits is the last one."""
DOWN_FOR = 5.0
"""Seconds after that in which ``on_unavailable`` applies at once to all callers of the resource."""
RELEASE_FOR = 3.0
"""Seconds for which the end of a block waits for the release. After that it goes on in the background."""
CUT_TO = 0.75
"""Fraction of the lifetime of a call that was cut for which the next one is held open."""
GIVE_UP_TIMEOUT = 2.0
"""Seconds that an interrupted acquire, the end of a loop and the end of the process wait for what they give back."""
QUIET = logging.DEBUG
"""Log level of what was logged before."""
LIMITS_FOR = 60.0
"""Seconds for which known limits are not read again."""
LIMITS_MAX = 1024
"""Resources whose limits are remembered."""


def margin(ttl: float) -> float:
    """Returns the seconds by which this side stops trusting a lease earlier than the server: clocks differ by less than 200 ppm."""
    return min(ttl / 4, 0.05 + ttl * 0.0004)


@dataclass(frozen=True)
class Grant:
    """A granted lease, by a node or in place of one."""

    view: LeaseView
    trusted_until: float
    degraded: bool = False
    free: Optional[Callable[[], None]] = None
    """Frees what was charged in this process, at the end of the block."""


@dataclass(eq=False)
class Attempt:
    """Progress of an acquire, as far as giving it up depends on it."""

    sent: bool = False
    lease_id: Optional[str] = None
    unclear: bool = False
    """True once a call has ended whose effect is unknown."""

    @property
    def leaves_behind(self) -> bool:
        """Tells whether there may be a place in the queue, or a lease, that nobody will use."""
        return self.lease_id is not None or self.unclear

    def decided(self) -> None:
        """Records that there is nothing to give up."""
        self.sent, self.lease_id, self.unclear = False, None, False


class Core:
    """State that the calls of one client share. Safe for threads."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = _clock.now) -> None:
        self.settings = settings
        self.nodes = Nodes(settings.urls)
        self.clock = clock
        self._down_until: Recent[float] = Recent(LIMITS_MAX)
        self._limits: Recent[tuple[float, Mapping[str, Any]]] = Recent(LIMITS_MAX)
        self._limiters: Recent[LocalLimiter] = Recent(LIMITS_MAX)
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Replaces the locks in a child process: what was locked at the fork would stay locked for ever."""
        self._lock = threading.Lock()
        self._limiters.clear()
        self.nodes = Nodes(self.settings.urls)

    def call(
        self, call: Call, budget: Optional[float] = None, until: float = float("inf"), part: int = 2
    ) -> Flow[Answer]:
        budget = self.settings.patience if budget is None else budget
        return (yield from _retry.call(self.nodes, call, budget, self.clock, until, part))

    # Acquire

    def open(self, request: AcquireRequest, attempt: Attempt, choice: Optional[OnUnavailable]) -> Flow[Grant]:
        """Acquires, or does what ``on_unavailable`` says when no node can decide it."""
        choice = self.settings.on_unavailable if choice is None else choice
        patience = self.settings.patience if request.patience is None else request.patience
        began = self.clock()
        try:
            if choice == "deny":
                return (yield from self.acquire(request, attempt, began, patience, _wire.HOLD_MS_MAX))
            return (yield from self._open(request, attempt, began, choice, patience))
        except RateQueueError:
            yield from self._leave_behind(request, attempt)
            raise

    def _leave_behind(self, request: AcquireRequest, attempt: Attempt) -> Flow[None]:
        """Gives up in the background what the attempt may have got. An interrupted caller does so again, which does no harm."""
        if attempt.leaves_behind:
            yield Background(functools.partial(self.give_up, request, replace(attempt), self.settings.patience))
        attempt.decided()

    def _open(
        self, request: AcquireRequest, attempt: Attempt, began: float, choice: OnUnavailable, patience: float
    ) -> Flow[Grant]:
        """Sends the acquire to the nodes, and decides in their place while they do not."""
        budget = min(patience, FALLBACK_AFTER)

        why: Optional[Unavailable] = None
        while True:
            if self.clock() >= self.down_until(request.resource):
                try:
                    grant = yield from self.acquire(request, attempt, began, budget, _wire.HOLD_MS_WAY_OUT)
                except Unavailable as unavailable:
                    why = unavailable
                    with self._lock:
                        self._down_until.keep(request.resource, self.clock() + DOWN_FOR)
                else:
                    if isinstance(choice, Local):
                        # In the background, as the grant must not wait for it.
                        yield Background(functools.partial(self.learn_limits, request.resource))
                    return grant

            stand_in = yield from self.degraded(request, began, choice, why)
            if stand_in is not None:
                if why is not None:
                    how = "limited in this process" if isinstance(choice, Local) else "without a limit"
                    log.warning("no node decides for %s, going on %s: %s", request.resource, how, why)
                # A node may have granted it as well, or may yet.
                yield from self._leave_behind(request, attempt)
                return stand_in

    def down_until(self, resource: str) -> float:
        """Returns the time until which ``on_unavailable`` applies at once for a resource."""
        with self._lock:
            return self._down_until.get(resource, float("-inf"))

    def acquire(
        self, request: AcquireRequest, attempt: Attempt, began: float, budget: float, hold_ms_max: int
    ) -> Flow[Grant]:
        """Acquires, and waits in the queue for as long as the caller wants to, across calls and nodes."""
        # The first call is not held open, so that a caller that must wait learns the lease's id and place at once.
        hold_ms = 0
        cut: Optional[Cut] = None
        while True:
            attempt.sent = True
            until = min(began + request.wait + TROUBLE, self.clock() + hold_ms / 1000 + budget)

            try:
                answer = yield from self.call(request.call(hold_ms), budget, until)
            except Cut as broken:
                # At once, and without being held open: the lease may be granted by now, and its place is kept for a while.
                cut, hold_ms = broken, 0
                continue
            except Unavailable as error:
                attempt.unclear = attempt.unclear or not error.no_effect
                # A place in the queue is an effect, whatever the last tries came to.
                if attempt.lease_id is not None and error.no_effect:
                    error.no_effect, error.code = False, None
                if error.code == _answers.OVERLOADED and error.no_effect and request.wait <= 0:
                    raise Rejected(
                        str(error), code=error.code, status=error.status, request_id=error.request_id
                    ) from error
                raise
            except RateQueueError as error:
                attempt.unclear = attempt.unclear or error._unclear
                if error.code in _answers.ENDS or not attempt.leaves_behind:
                    attempt.decided()
                raise

            try:
                lease = self.lease(request, answer)
            except LeaseLost:
                attempt.decided()
                raise
            except RateQueueError:
                # The node that answered may have granted it.
                attempt.unclear = True
                raise

            attempt.lease_id = lease.id
            if lease.state == "held":
                return (yield from self.settle(request, lease, answer.sent))
            if self.clock() > began + request.wait + TROUBLE - LAST_POLL:
                raise WaitTimeout(
                    f"{request.resource}: still in the queue after {request.wait:g} s. Give a longer timeout."
                )

            yield Progress(lease.position, lease.retry_after)
            if cut is not None and cut.url == answer.url:
                # The node is well, so that the call was cut on the way to it, and will be again after as long.
                log.debug("%s: %s", request.resource, cut)
                hold_ms_max = min(hold_ms_max, max(_wire.HOLD_MS_MIN, int(cut.lived * CUT_TO * 1000)))
                if cut.lived < _wire.HOLD_MS_MIN / 1000:
                    yield Pause(_wire.HOLD_MS_MIN / 1000 - cut.lived)

            cut = None
            hold_ms = hold_ms_max

    def lease(self, request: AcquireRequest, answer: Answer) -> LeaseView:
        """Reads the lease in an acquire's answer. Calls about its group go to the leader of its resource from now on."""
        lease = _answers.lease(answer)
        place = self.nodes.first(_wire.about_resource(request.resource))
        self.nodes.prefer(_wire.about_lease(lease.id), place, self.clock())
        return lease

    def settle(self, request: AcquireRequest, lease: LeaseView, sent: float) -> Flow[Grant]:
        """Determines how long a granted lease may be trusted.

        The server says what is left when it answers. So this side counts from before it sent the one call that was answered:
        not from an earlier try or poll, and not from the answer, which may be late. After a call that was held open, little may
        be left of that. A new deadline, as long as the first, then makes it right.
        """
        until = sent + lease.expires_in - margin(lease.expires_in)
        left = until - self.clock()
        if left < lease.expires_in / 3:
            again = _wire.extend(lease.id, request.fields.get("ttl_ms"))
            try:
                answer = yield from self.call(again, left / 2 if left > 0 else 1.0)
                ttl = _answers.lease(answer).expires_in
                until = answer.sent + ttl - margin(ttl)
            except Unavailable:
                if left <= 0:
                    raise
        if until <= self.clock():
            raise LeaseLost(f"{lease.resource}: the lease was over before it could be used. Give a longer ttl.")
        return Grant(lease, until)

    def give_up(self, request: AcquireRequest, attempt: Attempt, budget: float) -> Flow[None]:
        """Gives back what an acquire may have got: a place in the queue, or a lease that nobody works under."""
        if not attempt.sent:
            return
        try:
            if attempt.lease_id is None:
                # Its first call was never answered. The same key gives the lease that the server may have made.
                answer = yield from self.call(request.call(0), budget)
                attempt.lease_id = self.lease(request, answer).id
            yield from self.call(_wire.release(attempt.lease_id, request.nothing_used), budget)
            attempt.decided()
        except RateQueueError as error:
            log.debug("nothing to give up for %s: %s", request.resource, error)

    # Without the server

    def degraded(
        self, request: AcquireRequest, began: float, choice: OnUnavailable, why: Optional[Unavailable]
    ) -> Flow[Optional[Grant]]:
        """Decides in place of the server, as the caller chose. Returns None when it waited until the nodes may be asked again."""
        if not isinstance(choice, Local):
            return self.stand_in(request, 0.0, None)

        limiter, wait_max = self._limiter(request.resource, choice)
        if limiter is None:
            raise why or Unavailable(
                f"{request.resource}: no node decides, and its limits are not known here yet. Try again in a moment, or give "
                "limits to local()."
            )

        until = began + min(request.wait, wait_max)
        while True:
            wait, charged = limiter.acquire(request.load, self.clock())
            if wait <= 0:
                return self.stand_in(request, self.clock() - began, functools.partial(limiter.release, charged))
            if wait == float("inf"):
                raise why or Unavailable(
                    f"{request.resource}: no node decides, and the load does not fit this process's part of the limits. "
                    "Try again in a moment, or give a larger fraction."
                )

            if request.wait <= 0:
                raise Rejected(f"{request.resource}: not now (no node decides, limited locally).", retry_after=wait)
            left = until - self.clock()
            if left <= 0:
                raise WaitTimeout(
                    f"{request.resource}: not in time (no node decides, limited locally).", retry_after=wait
                )

            down_for = self.down_until(request.resource) - self.clock()
            if down_for <= 0:
                return None
            yield Pause(min(wait, left, down_for))

    def stand_in(self, request: AcquireRequest, waited: float, free: Optional[Callable[[], None]]) -> Grant:
        view = LeaseView(f"degraded.{request.key}", request.resource, "held", 0, {}, float("inf"), waited, 0, 0.0)
        return Grant(view, float("inf"), degraded=True, free=free)

    def learn_limits(self, resource: str) -> Flow[None]:
        with self._lock:
            known = self._limits.get(resource)
        if known is not None and self.clock() - known[0] < LIMITS_FOR:
            return
        try:
            answer = yield from self.call(_admin.get(resource), 1.0)
            self.know_limits(answer)
        except RateQueueError as error:
            log.debug("the limits of %s could not be read: %s", resource, error)

    def know_limits(self, answer: Answer) -> None:
        """Remembers the limits in a node's view of a resource."""
        body = answer.json()
        if isinstance(body, dict) and "limits" in body and "name" in body:
            with self._lock:
                self._limits.keep(body["name"], (self.clock(), body))

    def _limiter(self, resource: str, choice: Local) -> tuple[Optional[LocalLimiter], float]:
        """Returns the limiter of a resource (None while its limits are not known), and the longest wait in seconds."""
        with self._lock:
            known = self._limits.get(resource)
            view: Optional[Mapping[str, Any]] = None if known is None else known[1]
            if view is None and choice.limits is not None:
                view = {"limits": choice.limits}
            if view is None:
                return None, 0.0
            limiter = self._limiters.get(resource) or LocalLimiter()
            self._limiters.keep(resource, limiter)
            limiter.resize(view["limits"], choice.fraction)
            wait_ms_max = (view.get("queue") or {}).get("max_wait_ms")
            return limiter, float("inf") if wait_ms_max is None else wait_ms_max / 1000

    # The end of a lease

    def release(self, lease_id: str, used: Optional[Load], trusted_until: float, lost: bool = False) -> Flow[bool]:
        """Releases a lease. Returns False when it had been lost; ``lost`` says whether that was logged before.

        Never raises: the work is done. When no node answers, the lease ends by itself soon, so it does not try for longer.
        """
        budget = min(self.settings.patience, max(1.0, trusted_until - self.clock() + 1.0))
        try:
            return (yield from self._release(lease_id, used, min(budget, RELEASE_FOR), lost))
        except Unavailable as error:
            if budget > RELEASE_FOR:
                yield Background(functools.partial(self._release_later, lease_id, used, budget - RELEASE_FOR))
            elif lost:
                return False
            else:
                log.warning("lease %s could not be released, it ends by itself: %s", lease_id, error)
        return True

    def _release(self, lease_id: str, used: Optional[Load], seconds: float, lost: bool = False) -> Flow[bool]:
        """Releases a lease. Raises :class:`Unavailable` when no node answered within these seconds."""
        try:
            answer = yield from self.call(_wire.release(lease_id, used), seconds, self.clock() + seconds)
            state = _answers.release_state(answer)
            if state not in (None, "released", "cancelled"):
                log.log(QUIET if lost else logging.WARNING, "lease %s ended before its work did (%s)", lease_id, state)
                return False
        except LeaseLost as error:
            if error.code == "lease-not-found":
                return True
            log.log(QUIET if lost else logging.WARNING, "lease %s ended before its work did: %s", lease_id, error)
            return False
        except Unavailable:
            raise
        except RateQueueError as error:
            if used is not None:
                # What it holds is given back in any case.
                log.warning("what was reported for lease %s was refused, its load stays charged: %s", lease_id, error)
                return (yield from self._release(lease_id, None, seconds, lost))
            log.warning("lease %s could not be released, it ends by itself: %s", lease_id, error)
        return True

    def _release_later(self, lease_id: str, used: Optional[Load], seconds: float) -> Flow[None]:
        try:
            yield from self._release(lease_id, used, seconds)
        except Unavailable as error:
            log.warning("lease %s could not be released, it ends by itself: %s", lease_id, error)

    def extend(self, lease_id: str, ttl_ms: Optional[int], trusted_until: float) -> Flow[float]:
        """Extends a lease once; returns the time until which it may be trusted from now on.

        Raises :class:`LeaseLost` when the server has ended it, any other error when this try failed.
        """
        budget = max(0.0, trusted_until - self.clock())
        # A third of what is left, so that of three nodes two may hang.
        answer = yield from self.call(_wire.extend(lease_id, ttl_ms), budget, part=3)
        ttl = _answers.lease(answer).expires_in
        return answer.sent + ttl - margin(ttl)
