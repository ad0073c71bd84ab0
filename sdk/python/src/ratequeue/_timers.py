"""Timers for the blocking client: one thread, there only while something is due."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from typing import Callable, Optional

log = logging.getLogger("ratequeue")

IDLE = 5.0
"""Seconds after which the thread ends when nothing is due any more."""


class Entry:
    """One timer."""

    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due = due
        self.call: Optional[Callable[[], object]] = call

    def cancel(self) -> None:
        self.call = None


class Timers:
    """Calls functions later. They must not block: what takes time gets a thread of its own from :func:`in_thread`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()
        self._thread: Optional[threading.Thread] = None
        self._closed = False

    def call_later(self, seconds: float, call: Callable[[], object]) -> Entry:
        entry = Entry(time.monotonic() + seconds, call)
        with self._changed:
            first = not self._due or entry.due < self._due[0][0]
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name="ratequeue-timers", daemon=True)
                # It may be refused. Only a thread that runs will look at what is due.
                thread.start()
                self._thread = thread
            elif first:
                self._changed.notify()
            heapq.heappush(self._due, (entry.due, next(self._order), entry))
        return entry

    def close(self) -> None:
        """Ends the thread. What is still due is not called."""
        with self._changed:
            self._closed = True
            self._due.clear()
            thread = self._thread
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=IDLE)

    def _run(self) -> None:
        while True:
            entry = self._next()
            if entry is None:
                return
            call, entry.call = entry.call, None
            if call is not None:
                try:
                    call()
                except Exception:
                    log.exception("a timer failed")

    def _next(self) -> Optional[Entry]:
        with self._changed:
            while not self._closed:
                while self._due and self._due[0][2].call is None:
                    heapq.heappop(self._due)
                if not self._due:
                    if not self._changed.wait(IDLE) and not self._due:
                        break
                    continue
                left = self._due[0][0] - time.monotonic()
                if left <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(left)
            self._thread = None
            return None


def in_thread(run: Callable[[], object]) -> None:
    """Runs something that takes time. The thread does not keep the process alive."""
    threading.Thread(target=run, name="ratequeue-beat", daemon=True).start()
