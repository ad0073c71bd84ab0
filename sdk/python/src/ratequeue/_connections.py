"""Idle connections of a client, kept by node.

A pool of httpx looks at each of its connections for each call, and a thousand calls that wait in the queue hold a thousand of
them. So every transport is used for one call at a time, and has one connection: choosing one costs the same however many
there are.
"""

from __future__ import annotations

from collections import deque
from typing import Callable, Generic, TypeVar

C = TypeVar("C")
IDLE_FOR = 60.0
"""Seconds for which an idle connection is kept; the server closes it after 75."""


class Connections(Generic[C]):
    """Connections that are made when needed. Takes no lock: the caller does, if there are threads."""

    def __init__(self, make: Callable[[], C], clock: Callable[[], float]) -> None:
        self._make = make
        self._clock = clock
        self._idle: dict[str, deque[tuple[C, float]]] = {}
        self._closed = False

    def take(self, url: str) -> C:
        """Returns a connection to a node for one call, the one that was used last."""
        idle = self._idle.get(url)
        return idle.pop()[0] if idle else self._make()

    def give(self, url: str, connection: C) -> list[C]:
        """Takes a connection back whose call was answered; any other is closed and forgotten, as nobody knows what state it is in.

        Those that it returns are no longer needed, and must be closed.
        """
        if self._closed:
            return [connection]

        now = self._clock()
        self._idle.setdefault(url, deque()).append((connection, now))
        over = []
        for idle in self._idle.values():
            while idle and idle[0][1] < now - IDLE_FOR:
                over.append(idle.popleft()[0])
        return over

    def clear(self) -> list[C]:
        """Removes and returns all idle connections, which must be closed. None is kept from now on."""
        self._closed = True
        idle, self._idle = self._idle, {}
        return [connection for kept in idle.values() for connection, _ in kept]
