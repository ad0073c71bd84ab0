"""The retry policy: which node is asked next, when, and until when. It does no I/O and has no clock: flows yield effects.

A *flow* is a generator. It yields an effect (:class:`Send`, :class:`Pause`, :class:`Progress`, :class:`Background`) and is
sent its result. The clients carry it out, one with blocking calls and one with asyncio, so that decisions are made in one place.

The rules are those of the Rust client, and in the table of ``sdk/conformance``: one key for the whole life of a call; on a
connection that fails, on every 5xx, also of a gateway, and on ``too-many-requests``, the same call goes to the next node, which
is not to hold it open when no answer came; once a try may have had an effect, the call may have; pauses double and are spread by
chance; the leader that an answer names is asked first from then on, about the same subject (see :mod:`ratequeue._nodes`). A call
that broke off while it was held open is another matter, see :class:`Cut`.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Callable, Optional, TypeVar, Union

from . import _answers
from ._nodes import Nodes
from ._wire import Answer, Call, NoAnswer
from .errors import RateQueueError, Unavailable

PAUSE_MIN = 0.02
PAUSE_MAX = 1.0
TRY_TIMEOUT = 4.0
"""Seconds that one try may take beyond the time for which the server holds the call open."""
TRY_TIMEOUT_MIN = 0.05


@dataclass(frozen=True)
class Send:
    """Effect: send this call to this node. The result is an :class:`Answer` or a :class:`NoAnswer`."""

    url: str
    call: Call
    timeout: float


@dataclass(frozen=True)
class Pause:
    """Effect: wait so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Progress:
    """Effect: tell the caller its place in the queue."""

    position: int
    retry_after: float


@dataclass(frozen=True)
class Background:
    """Effect: carry a flow out in the background, and go on at once."""

    make: Callable[[], Generator[Any, Any, Any]]
    """Makes the flow. It is called again when the flow was broken off with its loop, and starts over."""


class Cut(Exception):
    """A call that was held open broke off after ``lived`` seconds: its connection ended, or a gateway answered for the node.

    It says nothing about the node: a load balancer that cuts idle calls does that. So the node stays where it is in the order, no
    budget is spent, and a caller that waits asks again.
    """

    def __init__(self, url: str, lived: float) -> None:
        super().__init__(f"the call to {url} was cut after {lived:.3g} s")
        self.url = url
        self.lived = lived


Effect = Union[Send, Pause, Progress, Background]
Reply = Union[Answer, NoAnswer, None]
T = TypeVar("T")
Flow = Generator[Effect, Reply, T]


def pauses(spread: Callable[[float, float], float] = random.uniform) -> Generator[float, None, None]:
    """Yields pauses that double up to a maximum, each spread by half of itself."""
    pause = PAUSE_MIN
    while True:
        yield pause * spread(0.5, 1.5)
        pause = min(pause * 2, PAUSE_MAX)


HUNG_AFTER = 0.5
"""Seconds, beyond those for which it was held open, after which a try that is given up counts against its node."""


def try_timeout(left: float, hold: float, part: int = 2) -> float:
    """Returns the seconds that one try may take: a part of what is left, so that other nodes can be tried in the rest."""
    return hold + min(TRY_TIMEOUT, max(left / part, 0.2), left)


def call(
    nodes: Nodes, request: Call, budget: float, clock: Callable[[], float], until: float = float("inf"), part: int = 2
) -> Flow[Answer]:
    """Makes one call, at one node after the other, until one decides it.

    ``budget`` is in seconds, and does not count the time for which the server holds the call open; ``until`` is a time by
    the clock at which it ends in any case. Raises what the answer means, :class:`Cut`, or :class:`Unavailable` when the time is up.
    """
    began = clock()
    deadline = min(began + request.hold + budget, until)
    left = budget
    pause = pauses()
    untried = set(nodes.urls)

    # The last failure that a node answered: it tells more than the silence of another node.
    said: Optional[RateQueueError] = None
    # Once one try may have had an effect, the call as a whole may have.
    no_effect = True

    while True:
        url = nodes.first(request.subject)
        untried.discard(url)
        seconds = min(try_timeout(left, request.hold, part), until - clock())

        sent = clock()
        try:
            reply = yield Send(url, request, max(seconds, TRY_TIMEOUT_MIN))
        except GeneratorExit:
            if clock() - sent >= request.hold + HUNG_AFTER:
                nodes.silent(url, clock())
            raise

        failure: RateQueueError
        if isinstance(reply, Answer):
            nodes.answered(url)
            nodes.prefer(request.subject, reply.leader, clock())
            if reply.status < 300:
                return reply
            failure = said = _answers.error(reply)
            if not _answers.repeatable(failure):
                failure._unclear = not no_effect
                raise failure
            if request.hold and _answers.from_gateway(failure):
                raise Cut(url, clock() - sent)
            nothing_happened = isinstance(failure, Unavailable) and failure.no_effect
            nodes.move_on(request.subject, url)
        else:
            assert isinstance(reply, NoAnswer)
            if request.hold and not reply.unsent and not reply.late:
                raise Cut(url, clock() - sent)
            failure = Unavailable(f"{url} did not answer: {reply.reason}", no_effect=reply.unsent)
            nothing_happened = reply.unsent
            nodes.silent(url, clock())
            if not reply.unsent:
                request = request.again or request

        no_effect = no_effect and nothing_happened

        # Where nothing happened, a node that was not asked yet is asked at once; but not one of those that have too much to do.
        overloaded = failure.code == _answers.OVERLOADED
        seconds = 0.0 if nothing_happened and untried and not overloaded else next(pause)

        # The time for which a call was held open does not count, and from the first failure on the budget runs.
        deadline = min(deadline, clock() + left)
        left = deadline - clock()
        if left <= TRY_TIMEOUT_MIN:
            raise gave_up(nodes, failure, said or failure, clock() - began, no_effect, request)

        seconds = min(seconds, left - TRY_TIMEOUT_MIN)
        left -= seconds
        if seconds:
            yield Pause(seconds)


def gave_up(
    nodes: Nodes, last: RateQueueError, said: RateQueueError, took: float, no_effect: bool, request: Call
) -> Unavailable:
    """Builds the error of a call that no node decided; ``said`` is the last failure that a node answered."""
    happened = "nothing happened" if no_effect else "it is not known whether the call took effect"
    texts = [f"no node decided the call within {took:.2g} s ({happened}). The last answer: {said}"]
    if said is not last:
        texts.append(f"After that: {last}")
    if last.code is None:
        texts.append(f"Check that nodes run at {', '.join(nodes.urls)}")
    error = Unavailable(
        ". ".join(text.rstrip(".") for text in texts) + ".",
        no_effect=no_effect,
        # A code that promises that nothing happened is left out where that is not known.
        code=last.code if no_effect or not getattr(last, "no_effect", False) else None,
        status=last.status,
        request_id=request.headers.get("idempotency-key"),
    )
    error.__cause__ = said
    return error
