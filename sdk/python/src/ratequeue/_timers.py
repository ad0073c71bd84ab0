"""Timers for the blocking client: one thread, there only while something is due."""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from typing import Callable, Optional

log = logging.getLogger("ratequeue")

IDLE = 5.0
"""Seconds after which the thread ends when nothing is due."""
CANCELLED_MIN = 64
"""Cancelled timers that may stay in the heap; of a larger heap, half of it."""


class Entry:
    """One timer."""

    def __init__(self, due: float, call: Callable[[], object], cancelled: Callable[[], None]) -> None:
        self.due = due
        self.call: Optional[Callable[[], object]] = call
        self._cancelled = cancelled

    def cancel(self) -> None:
        if self.call is not None:
            self.call = None
            self._cancelled()


class Timers:
    """Calls functions later. They must not block: what takes time gets a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: list[tuple[float, int, Entry]] = []
        self._cancelled = 0
        self._order = itertools.count()
        # What is called at once. None only wakes the thread, which waits here.
        self._now: queue.SimpleQueue[Optional[Callable[[], object]]] = queue.SimpleQueue()
        self._thread: Optional[threading.Thread] = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._due)

    def call_later(self, seconds: float, call: Callable[[], object]) -> Entry:
        entry = Entry(time.monotonic() + seconds, call, self._note_cancelled)
        with self._lock:
            first = not self._due or entry.due < self._due[0][0]
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name="ratequeue-timers", daemon=True)
                # It may be refused. Only a thread that runs will look at what is due.
                thread.start()
                self._thread = thread
            elif first:
                self._now.put(None)
            heapq.heappush(self._due, (entry.due, next(self._order), entry))
        return entry

    def call_soon(self, call: Callable[[], object]) -> None:
        """Calls a function in the thread of the timers, or in a new one while there is none.

        Takes no lock of its own, so that a finalizer may call it at any point of a program.
        """
        if self._thread is None:
            in_thread(call)
        else:
            self._now.put(call)

    def close(self) -> None:
        """Ends the thread without calling what is still due."""
        with self._lock:
            self._closed = True
            self._due.clear()
            thread = self._thread
            self._now.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=IDLE)

    def _note_cancelled(self) -> None:
        """Removes cancelled timers when there are many: those of a lease are due long after its release."""
        with self._lock:
            self._cancelled += 1
            if self._cancelled > max(CANCELLED_MIN, len(self._due) // 2):
                self._due = [timer for timer in self._due if timer[2].call is not None]
                heapq.heapify(self._due)
                self._cancelled = 0

    def _run(self) -> None:
        while True:
            with self._lock:
                wait = self._due[0][0] - time.monotonic() if self._due else IDLE
            try:
                soon = self._now.get(timeout=max(0.0, wait))
            except queue.Empty:
                soon = None
            for call in [soon, *self._take()]:
                if call is not None:
                    try:
                        call()
                    except Exception:
                        log.exception("a timer failed")
            if self._is_over(wait):
                return

    def _is_over(self, waited: float) -> bool:
        """Tells whether the thread ends: after :meth:`close`, or when nothing was due for a while."""
        with self._lock:
            idle = waited == IDLE and not self._due
            if not self._now.empty() or not (self._closed or idle):
                return False
            self._thread = None
            return True

    def _take(self) -> list[Optional[Callable[[], object]]]:
        """Takes the timers that are due now."""
        calls: list[Optional[Callable[[], object]]] = []
        with self._lock:
            while self._due and self._due[0][0] <= time.monotonic():
                entry = heapq.heappop(self._due)[2]
                call, entry.call = entry.call, None
                if call is None:
                    self._cancelled -= 1
                calls.append(call)
        return calls


def in_thread(run: Callable[[], object]) -> threading.Thread:
    """Runs a function in a new thread, which does not keep the process alive."""
    thread = threading.Thread(target=run, name="ratequeue-beat", daemon=True)
    thread.start()
    return thread
