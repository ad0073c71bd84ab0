"""What carries flows out: the part that threads and asyncio share, and what is given back when the process ends.

A *runner* is the connections and the background work of a client, in one process or in one event loop. It knows what it *owes* the
server: places in line and leases that somebody is to give back. Whatever was not given back by then is at the end of the process.
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
    """Carries flows out."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.owed: dict[object, MakeFlow] = {}
        """What gives back what, by who is to do it. Its single operations are safe for threads."""
        _runners.add(self)

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        raise NotImplementedError

    def call_soon(self, call: Callable[[], object]) -> None:
        """Calls a function soon, elsewhere. May be called when an object is collected, in the middle of anything."""
        raise NotImplementedError

    def in_background(self, make: MakeFlow) -> Any:
        """Carries a flow out, and goes on at once."""
        raise NotImplementedError

    def end(self, until: float) -> None:
        """Gives back what is owed, with calls that block, until this time by ``time.monotonic`` at most."""
        raise NotImplementedError

    def forget(self) -> None:
        """In a child process: what is owed is the parent's to give back."""
        self.owed.clear()
        _runners.discard(self)


_runners: weakref.WeakSet[Runner] = weakref.WeakSet()


@atexit.register
def end_all(seconds: float = GIVE_UP_TIMEOUT) -> None:
    """Gives back what everybody owes, within so many seconds in all."""
    until = time.monotonic() + seconds
    for runner in list(_runners):
        runner.end(until)


def next_owed(runner: Runner, until: float) -> Optional[MakeFlow]:
    """Takes one of the flows that are owed, while there is time."""
    if not runner.owed or time.monotonic() >= until:
        return None
    return runner.owed.popitem()[1]
