"""The runner of flows with blocking calls."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
import time
from dataclasses import replace
from typing import Callable, Optional, TypeVar

import httpx

from . import _http
from ._connections import Connections
from ._defaults import after_fork
from ._flows import GIVE_UP_TIMEOUT, Core
from ._retry import Background, Flow, Pause, Reply, Send
from ._runner import MakeFlow, Runner, Timer, next_owed
from ._settings import OnWait
from ._timers import Timers, in_thread

T = TypeVar("T")
log = logging.getLogger("ratequeue")


class Blocking(Runner):
    """The connections and the threads of a client in one process. Safe for threads."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._lock = threading.Lock()
        make = functools.partial(_http.transport, core.settings, httpx.HTTPTransport)
        self._connections = Connections(make, core.clock)
        self._timers = Timers()
        self._threads: set[threading.Thread] = set()

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        return self._timers.call_later(seconds, call)

    def call_soon(self, call: Callable[[], object]) -> None:
        self._timers.call_soon(call)

    def run(self, flow: Flow[T], on_wait: Optional[OnWait] = None) -> T:
        """Carries a flow out in the calling thread."""
        with contextlib.closing(flow):
            return self._steps(flow, on_wait)

    def in_background(self, make: MakeFlow) -> threading.Thread:
        """Carries a flow out in a thread of its own. Raises RuntimeError when it cannot be started."""

        def run() -> None:
            thread = threading.current_thread()
            self._threads.add(thread)
            try:
                self.run(make())
            except Exception:
                log.exception("a call in the background failed")
            finally:
                self._threads.discard(thread)

        return in_thread(run)

    def finish(self, make: MakeFlow, timeout: float = GIVE_UP_TIMEOUT) -> None:
        """Carries a flow out even if the caller is interrupted again, and waits for it for so many seconds."""
        try:
            thread = self.in_background(make)
        except RuntimeError:
            self.run(make())
        else:
            thread.join(timeout)

    def close(self) -> None:
        """Ends the timers, waits a moment for the background work, and closes the connections."""
        self._timers.close()
        self._join(time.monotonic() + GIVE_UP_TIMEOUT)
        with self._lock:
            idle = self._connections.clear()
            self._timers = Timers()
        for connection in idle:
            connection.close()

    def end(self, until: float) -> None:
        # In this thread: at the end of the process no more of them start.
        while (make := next_owed(self, until)) is not None:
            try:
                self._run_until(make(), until)
            except Exception:
                log.exception("what was owed at the end could not be given back")
        self._join(until)

    def forget(self) -> None:
        super().forget()
        # The parent goes on with its connections and locks. They are kept from being collected, so that this process writes
        # nothing to them.
        _of_the_parent.append(self)

    def _join(self, until: float) -> None:
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def _run_until(self, flow: Flow[object], until: float) -> None:
        """Carries a flow out, or breaks it off at this time. Its background flows are owed instead of run."""
        reply: Reply = None
        with contextlib.closing(flow), contextlib.suppress(StopIteration):
            while (left := until - time.monotonic()) > 0:
                effect = flow.send(reply)
                reply = None
                if isinstance(effect, Send):
                    reply = self._send(replace(effect, timeout=min(effect.timeout, left)))
                elif isinstance(effect, Pause):
                    time.sleep(min(effect.seconds, left))
                elif isinstance(effect, Background):
                    self.owed[object()] = effect.make

    def _steps(self, flow: Flow[T], on_wait: Optional[OnWait]) -> T:
        reply: Reply = None
        while True:
            try:
                effect = flow.send(reply)
            except StopIteration as stop:
                result: T = stop.value
                return result
            reply = None
            if isinstance(effect, Send):
                reply = self._send(effect)
            elif isinstance(effect, Pause):
                time.sleep(effect.seconds)
            elif isinstance(effect, Background):
                try:
                    self.in_background(effect.make)
                except RuntimeError as error:
                    # It cannot be started. What it gives back ends by itself.
                    log.warning("a call in the background was left out: %s", error)
            elif on_wait is not None:
                on_wait(effect.position, effect.retry_after)

    def _send(self, send: Send) -> Reply:
        with self._lock:
            connection = self._connections.take(send.url)

        sent = self.core.clock()
        over = [connection]
        interrupted = False
        try:
            response = connection.handle_request(_http.request(send, self.core.settings))
            try:
                answer = _http.answer(send, response, response.read(), sent)
            finally:
                response.close()
            with self._lock:
                over = self._connections.give(send.url, connection)
            return answer
        except httpx.HTTPError as error:
            return _http.no_answer(send, error)
        except BaseException as error:
            # A signal may interrupt httpx while it has its locks, and then nobody gets past them any more.
            interrupted = not isinstance(error, Exception)
            raise
        finally:
            for old in over:
                if interrupted:
                    # Closing it may never come back.
                    with contextlib.suppress(RuntimeError):
                        in_thread(old.close)
                else:
                    old.close()


_of_the_parent: list[Blocking] = []


class SyncRunners:
    """The runner of a blocking client, a new one in each process."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._runner = Blocking(core)
        after_fork(self)

    def current(self) -> Blocking:
        """Returns the runner of this process."""
        return self._runner

    def close(self) -> None:
        self._runner.close()

    def _after_fork(self) -> None:
        self._runner.forget()
        self._core.after_fork()
        self._runner = Blocking(self._core)
