"""Runs actions at their time, in order, to some hundredths of a millisecond.

asyncio's own timers wait in whole milliseconds, which would add up to 2 ms to each round trip. This one sleeps on a
timerfd, whose readiness wakes the event loop.
"""
from __future__ import annotations

import asyncio
import ctypes
import heapq
import os
import time
from typing import Callable

_TFD_TIMER_ABSTIME = 1
_TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_NS_PER_S = 1_000_000_000
_libc = ctypes.CDLL(None, use_errno=True)


class _Spec(ctypes.Structure):
    """struct itimerspec: interval, then first expiry, each in seconds and nanoseconds."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class Timetable:
    """What is due when, in nanoseconds of time.monotonic_ns()."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._added = 0
        self._loop = loop
        self._timer = _libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_FLAGS)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        loop.add_reader(self._timer, self._ring)

    def at(self, due_ns: int, action: Callable[[], None]) -> None:
        """Actions due at the same time run in the order in which they came."""
        self._added += 1
        heapq.heappush(self._heap, (due_ns, self._added, action))
        if self._heap[0][1] == self._added:
            self._arm()

    async def sleep_until(self, due_ns: int) -> None:
        if due_ns <= time.monotonic_ns():
            return
        woken: asyncio.Future[None] = self._loop.create_future()
        self.at(due_ns, lambda: None if woken.done() else woken.set_result(None))
        await woken

    def _arm(self) -> None:
        # An expiry of 0 would disarm the timer.
        due_ns = max(1, self._heap[0][0])
        spec = _Spec(0, 0, due_ns // _NS_PER_S, due_ns % _NS_PER_S)
        if _libc.timerfd_settime(self._timer, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _ring(self) -> None:
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            pass
        now = time.monotonic_ns()
        try:
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2]()
        finally:
            # Also after an action that failed: the others must still have their turn.
            if self._heap:
                self._arm()
