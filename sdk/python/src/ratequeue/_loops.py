"""The runner of flows in an event loop of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
import time
import weakref
from collections.abc import AsyncGenerator
from typing import Any, Callable, Optional, TypeVar

import httpx

from . import _http
from ._connections import Connections
from ._defaults import after_fork
from ._flows import GIVE_UP_TIMEOUT, Core
from ._retry import Background, Flow, Pause, Reply, Send
from ._runner import MakeFlow, Runner, Timer
from ._settings import OnWait
from ._threads import Blocking
from ._timers import in_thread
from .errors import ConfigurationError

T = TypeVar("T")


def _is_running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


class InLoop(Runner):
    """The connections and background tasks of a client in one event loop."""

    def __init__(self, core: Core, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(core)
        # The runner must not keep its loop alive.
        self._loop = weakref.ref(loop)
        make = functools.partial(_http.transport, core.settings, httpx.AsyncHTTPTransport)
        self._connections = Connections(make, core.clock)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._broken_off: list[MakeFlow] = []
        self.closed = False
        self._until_shutdown = self._open_until_shutdown()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop()
        assert loop is not None, "it runs"
        return loop

    def call_later(self, seconds: float, call: Callable[[], object]) -> Timer:
        return self.loop.call_later(seconds, call)

    def call_soon(self, call: Callable[[], object]) -> None:
        loop = self._loop()
        try:
            # Once the client is closed the loop may end before it comes to it.
            if loop is not None and not self.closed:
                loop.call_soon_threadsafe(call)
                return
        except RuntimeError:
            # It was closed.
            pass
        in_thread(call)

    async def open(self) -> None:
        await self._until_shutdown.__anext__()

    async def aclose(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GIVE_UP_TIMEOUT)
            for task in self._tasks:
                task.cancel()
        await self._until_shutdown.aclose()

    async def run(self, flow: Flow[T], on_wait: Optional[OnWait] = None) -> T:
        """Carries a flow out in the loop."""
        with contextlib.closing(flow):
            return await self._steps(flow, on_wait)

    async def finish(self, make: MakeFlow, timeout: float = GIVE_UP_TIMEOUT) -> None:
        """Carries a flow out even if the caller is cancelled again, and waits for it for so many seconds."""
        await asyncio.wait({self.in_background(make)}, timeout=timeout)

    def in_background(self, make: MakeFlow) -> Any:
        loop = self._loop()
        if loop is None or not _is_running_here(loop):
            return in_thread(functools.partial(self._give_back, {make: make}, time.monotonic() + GIVE_UP_TIMEOUT))
        return self._keep(self._run_to_the_end(make))

    def end(self, until: float) -> None:
        if self.owed:
            owed, self.owed = self.owed, {}
            self._give_back(owed, until)

    def _give_back(self, owed: dict[object, MakeFlow], until: float) -> None:
        blocking = Blocking(self.core)
        blocking.owed = owed
        blocking.end(until)
        blocking.close()

    async def _run_to_the_end(self, make: MakeFlow) -> None:
        try:
            await self.run(make())
        except asyncio.CancelledError:
            # asyncio.run cancels all tasks at its end. The rest is done when it shuts down the asynchronous generators.
            if not self.closed:
                self._broken_off.append(make)
            raise

    async def _open_until_shutdown(self) -> AsyncGenerator[None, None]:
        """Closes the connections when this generator is closed, by :meth:`aclose` or by the loop that shuts down."""
        try:
            yield
        finally:
            if not self.closed:
                await self._shut_down()
            for connection in self._connections.clear():
                await connection.aclose()

    async def _shut_down(self) -> None:
        """Gives back what was broken off, and what is held by tasks and objects of the loop that ends.

        It uses blocking calls in a thread: httpx makes asynchronous generators, and the loop takes no more of them.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.closed = True
        self.owed.update((object(), make) for make in self._broken_off)
        await self.loop.run_in_executor(None, self.end, time.monotonic() + GIVE_UP_TIMEOUT)

    async def _steps(self, flow: Flow[T], on_wait: Optional[OnWait]) -> T:
        reply: Reply = None
        while True:
            try:
                effect = flow.send(reply)
            except StopIteration as stop:
                result: T = stop.value
                return result
            reply = None
            if isinstance(effect, Send):
                reply = await self._send(effect)
            elif isinstance(effect, Pause):
                await asyncio.sleep(effect.seconds)
            elif isinstance(effect, Background):
                self.in_background(effect.make)
            elif on_wait is not None:
                told = on_wait(effect.position, effect.retry_after)
                if inspect.isawaitable(told):
                    await told

    async def _send(self, send: Send) -> Reply:
        connection = self._connections.take(send.url)
        sent = self.core.clock()
        over = [connection]
        try:
            response = await connection.handle_async_request(_http.request(send, self.core.settings))
            try:
                answer = _http.answer(send, response, await response.aread(), sent)
            finally:
                await response.aclose()
            over = self._connections.give(send.url, connection)
            return answer
        except httpx.HTTPError as error:
            return _http.no_answer(send, error)
        finally:
            # Here and not in a task: at the end of the loop nobody would run one.
            for old in over:
                await old.aclose()

    def _keep(self, coroutine: Any) -> asyncio.Task[Any]:
        # The loop itself keeps only weak references to its tasks.
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class AsyncRunners:
    """The runners of an asyncio client, one for each event loop that uses it.

    Each has connections of its own. They are closed by :meth:`aclose`, or when the loop shuts down its asynchronous generators, as
    ``asyncio.run`` does.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._runners: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, InLoop] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        after_fork(self)

    async def current(self) -> InLoop:
        """Returns the runner of the running loop."""
        loop = _running_loop()
        with self._lock:
            runner = self._runners.get(loop)
            if runner is not None and not runner.closed:
                return runner

            # A runner keeps its loop in turn, also one that was closed without its asynchronous generators.
            for other in list(self._runners):
                if other.is_closed():
                    self._runners.pop(other, None)
            runner = self._runners[loop] = InLoop(self._core, loop)

        await runner.open()
        return runner

    async def aclose(self) -> None:
        with self._lock:
            runner = self._runners.pop(_running_loop(), None)
        if runner is not None:
            await runner.aclose()

    def _after_fork(self) -> None:
        # The parent goes on with its loops and connections. They are kept from being collected here, so that nothing is said on
        # them from this process.
        _of_the_parent.append(self._runners)
        for runner in list(self._runners.values()):
            runner.forget()

        self._core.after_fork()
        self._runners = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()


_of_the_parent: list[object] = []


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "ratequeue.aio needs a running asyncio loop, and there is none here: call it in a coroutine under asyncio.run. "
            "With trio use the blocking client in a thread: await trio.to_thread.run_sync(...)"
        ) from None
