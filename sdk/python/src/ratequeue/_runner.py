"""Runners of flows: the part that threads and asyncio share, and the end of the process.

A *runner* is the connections and the background work of a client, in one process or in one event loop. It knows what it *owes* the
server: places in the queue and leases that are to be given back. At the end of the process it gives back what is left of them.
"""

from __future__ import annotations

import atexit
import time
import weakref
from typing import Any, Callable, Optional, Protocol

from ._flows import GIVE_UP_TIMEOUT, Core
from ._retry import Flow

MakeFlow = Callable[[], Flow[Any]]


class Timer(Protocol):
    def cancel(self) -> Any: ...


class Runner:
    """Carries flows out, and knows what they owe the server."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.owed: dict[object, MakeFlow] = {}
        """Flows that give something back, by the object that is to run them. Its single operations are safe for threads."""
        _runners.add(self)

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        raise NotImplementedError

    def call_soon(self, call: Callable[[], object]) -> None:
        """Calls a function soon, in another thread or in the loop. May be called by a finalizer, at any point of a program."""
        raise NotImplementedError

    def in_background(self, make: MakeFlow) -> Any:
        """Carries a flow out, and goes on at once."""
        raise NotImplementedError

    def end(self, until: float) -> None:
        """Gives back what is owed, with blocking calls, until this time by ``time.monotonic`` at most."""
        raise NotImplementedError

    def forget(self) -> None:
        """Forgets what is owed in a child process: the parent gives it back."""
        self.owed.clear()
        _runners.discard(self)


_runners: weakref.WeakSet[Runner] = weakref.WeakSet()


@atexit.register
def end_all(seconds: float = GIVE_UP_TIMEOUT) -> None:
    """Gives back what all runners owe, within so many seconds in all."""
    until = time.monotonic() + seconds
    for runner in list(_runners):
        runner.end(until)


def next_owed(runner: Runner, until: float) -> Optional[MakeFlow]:
    """Takes one of the owed flows, while there is time."""
    if not runner.owed or time.monotonic() >= until:
        return None
    return runner.owed.popitem()[1]
