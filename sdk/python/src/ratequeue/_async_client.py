"""The asyncio client."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import itertools
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Callable, Generic, Optional, TypeVar

import httpx

from . import _admin, _http, _limited, _wire, otel
from ._admin import Resource
from ._client import ONE_BLOCK, gives_none, raises
from ._defaults import Defaults, after_fork
from ._flows import GIVE_UP_TIMEOUT, Core, Progress
from ._lease import BaseLease, Heart
from ._retry import Aside, Flow, Pause, Reply, Send
from ._settings import PATIENCE, OnUnavailable, OnWait, Settings, Urls, fallback, settings
from ._shards import Shards
from ._wire import Answer, Ask, Call, Load
from .errors import ConfigurationError, QueueFull, RateQueueError, Rejected

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
L = TypeVar("L")


class Lease(BaseLease[asyncio.Event]):
    """A lease that is held; see :class:`~ratequeue._lease.BaseLease`. ``lost`` is an ``asyncio.Event``."""


class Acquire(Generic[L]):
    """An acquire that was asked for. Entering its block waits in line; leaving it releases."""

    def __init__(
        self,
        client: Callable[[], AsyncClient],
        ask: Callable[[], Ask],
        on_unavailable: Optional[OnUnavailable],
        on_wait: Optional[OnWait],
        refused: Callable[[RateQueueError], L],
    ) -> None:
        self._make_client = client
        self._make_ask = ask
        self._on_unavailable = on_unavailable
        self._on_wait = on_wait
        self._refused = refused
        self._entered = itertools.count()
        self._held: Optional[tuple[Pool, Lease, Heart[asyncio.Event]]] = None

    async def __aenter__(self) -> L:
        # Counted in one step: several tasks may come at once, and only the first has a block to leave.
        if next(self._entered):
            raise ConfigurationError(ONE_BLOCK)
        client = self._make_client()
        ask = self._make_ask()
        progress = Progress()
        core = client._core
        pool = await client._pool()
        try:
            with otel.acquiring(core.settings.tracer, ask) as granted:
                grant = await pool.run(core.open(ask, progress, self._on_unavailable), self._on_wait)
                granted(grant.view.id, grant.view.waited, grant.degraded)
            lease = Lease(core, ask, grant, asyncio.Event())
            heart = Heart(lease, pool.loop.call_later, pool.in_background)
            self._held = (pool, lease, heart)
            heart.start()
        except BaseException as error:
            # Interrupted while it waited, by a cancellation, its own hook or a heartbeat that cannot start: the place in line goes
            # back, or the lease. Of what the server has decided there is none.
            held, self._held = self._held, None
            if held is not None:
                held[2].stop()
            if progress.sent:
                await pool.finish(core.give_up(ask, progress), GIVE_UP_TIMEOUT)
            if isinstance(error, (Rejected, QueueFull)):
                return self._refused(error)
            raise
        return lease  # type: ignore[return-value]

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        pool, lease, heart = held
        heart.stop()
        closing = lease._closing()
        if closing is None:
            return
        try:
            if await pool.run(closing, None) is False:
                lease.lost.set()
        except asyncio.CancelledError:
            # Cancelled in the middle of it. Releasing twice does no harm, not releasing would.
            again = lease._core.release(lease.id, lease._used, lease._trusted_until)
            await pool.finish(again, GIVE_UP_TIMEOUT)
            raise


class Resources:
    """Makes, changes and lists resources. Errors are those of the same calls of :class:`ratequeue.Client`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def put(
        self,
        name: str,
        resource: Mapping[str, Any],
        *,
        if_version: Optional[int] = None,
        create_only: bool = False,
    ) -> Resource:
        """Creates or replaces a resource, and gives it as it is then. Arguments and errors as in :class:`ratequeue.Client`."""
        return await self._client._read(_admin.put(name, resource, if_version, create_only))

    async def get(self, name: str) -> Resource:
        """A resource. Raises :class:`ConfigurationError` with the code ``resource-not-found``."""
        return await self._client._read(_admin.get(name))

    async def patch(self, name: str, changes: Mapping[str, Any], *, if_version: Optional[int] = None) -> Resource:
        """Changes what ``changes`` names (a JSON merge patch; None removes), and gives the resource as it is then."""
        return await self._client._read(_admin.patch(name, changes, if_version))

    async def delete(self, name: str) -> None:
        """Deletes a resource. Who waits for it gets an error; who holds a lease of it is forgotten."""
        await self._client._read(_admin.delete(name))

    async def list(self) -> AsyncIterator[Resource]:
        """All resources in name order, read page by page."""
        cursor: Optional[str] = None
        while True:
            items, cursor = _wire.page(await self._client._answer(_admin.page(cursor)))
            for item in items:
                yield item
            if cursor is None:
                return


class AsyncClient:
    """A client of one cluster, for asyncio. Arguments as for :class:`ratequeue.Client`.

    It may be used in several event loops, one after the other or in several threads: each loop gets connections of its
    own, which are closed by :meth:`aclose`, or when the loop shuts down its asynchronous generators, as ``asyncio.run`` does.
    """

    def __init__(
        self,
        base_url: Urls = None,
        *,
        api_key: Optional[str] = None,
        patience: float = PATIENCE,
        on_unavailable: OnUnavailable = "deny",
        verify: Any = True,
        tracer: Any = None,
        proxy: Optional[str] = None,
    ) -> None:
        self._core = Core(settings(base_url, api_key, patience, on_unavailable, verify, tracer, proxy))
        self._pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = weakref.WeakKeyDictionary()
        after_fork(self)

    @property
    def resources(self) -> Resources:
        """Makes, changes and lists resources."""
        return Resources(self)

    async def stats(self, resource: str) -> dict[str, Any]:
        """How a resource stands. See :meth:`ratequeue.Client.stats`."""
        return await self._read(_admin.stats(resource))

    def acquire(
        self,
        resource: str,
        load: Load = 1,
        *,
        timeout: Optional[float] = None,
        priority: int = 5,
        ttl: Optional[float] = None,
        idempotency_key: Optional[str] = None,
        on_unavailable: Optional[OnUnavailable] = None,
        metadata: Optional[Mapping[str, str]] = None,
        on_wait: Optional[OnWait] = None,
    ) -> Acquire[Lease]:
        """Acquires a lease for the length of an ``async with`` block. See :func:`ratequeue.acquire`."""
        choice = None if on_unavailable is None else fallback(on_unavailable)
        ask = functools.partial(_wire.ask, resource, load, timeout, priority, ttl, idempotency_key, metadata)
        return Acquire(lambda: self, ask, choice, on_wait, raises)

    def try_acquire(
        self,
        resource: str,
        load: Load = 1,
        *,
        priority: int = 5,
        ttl: Optional[float] = None,
        idempotency_key: Optional[str] = None,
        on_unavailable: Optional[OnUnavailable] = None,
        metadata: Optional[Mapping[str, str]] = None,
    ) -> Acquire[Optional[Lease]]:
        """Acquires without waiting: the block gets the lease, or None when the limits do not allow it now."""
        choice = None if on_unavailable is None else fallback(on_unavailable)
        ask = functools.partial(_wire.ask, resource, load, 0, priority, ttl, idempotency_key, metadata)
        return Acquire(lambda: self, ask, choice, None, gives_none)

    def limited(self, resource: str, load: _limited.LoadOf = 1, **options: Any) -> Callable[[F], F]:
        """A decorator that holds a lease around each call. See :func:`ratequeue.aio.limited`."""
        options = _limited.repeated(options)
        return limited(lambda load: self.acquire(resource, load, **options), load)

    async def aclose(self) -> None:
        """Closes the connections of the running loop, after the releases that are under way."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def _read(self, call: Call) -> dict[str, Any]:
        answer = await self._answer(call)
        self._core.know_limits(answer)
        return _wire.view(answer)

    async def _answer(self, call: Call) -> Answer:
        pool = await self._pool()
        return await pool.run(self._core.call(call), None)

    async def _pool(self) -> Pool:
        """The pool of the running loop."""
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None or pool.closed:
            # What hangs on a loop keeps it in turn, also one that was closed without its asynchronous generators.
            for other in [other for other in self._pools if other.is_closed()]:
                del self._pools[other]
            pool = self._pools[loop] = Pool(self._core, loop)
            await pool.open()
        return pool

    def _after_fork(self) -> None:
        # The parent goes on with its loops and connections. They are kept from being collected here, so that nothing is
        # said on them from this process.
        _of_the_parent.append(self._pools)
        self._core.after_fork()
        self._pools = weakref.WeakKeyDictionary()


class Pool:
    """The connections and background tasks of a client in one event loop."""

    def __init__(self, core: Core, loop: asyncio.AbstractEventLoop) -> None:
        # The loop must not be kept alive by what hangs on it.
        self._loop = weakref.ref(loop)
        self._core = core
        self._shards = Shards(functools.partial(_new_pool, core.settings))
        self._tasks: set[asyncio.Task[Any]] = set()
        self.closed = False
        self._until_shutdown = _until_shutdown(self._shards)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        loop = self._loop()
        assert loop is not None, "it runs"
        return loop

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

    async def run(self, flow: Flow[T], on_wait: Optional[OnWait]) -> T:
        """Carries a flow out."""
        with contextlib.closing(flow):
            return await self._steps(flow, on_wait)

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
            elif isinstance(effect, Aside):
                self.in_background(effect.flow)
            elif on_wait is not None:
                told = on_wait(effect.position, effect.retry_after)
                if inspect.isawaitable(told):
                    await told

    async def _send(self, send: Send) -> Reply:
        shard = self._shards.take()
        sent = self._core.clock()
        try:
            return _http.answer(send, await shard[0].request(**_http.request(send)), sent)
        except httpx.HTTPError as error:
            return _http.no_answer(send, error)
        finally:
            idle = self._shards.give(shard)
            if idle is not None:
                self._keep(idle.aclose())

    async def finish(self, flow: Flow[Any], timeout: float) -> None:
        """Carries a flow out even when the caller is cancelled; waits for it so many seconds."""
        task = self._keep(self.run(flow, None))
        await asyncio.wait({task}, timeout=timeout)

    def in_background(self, flow: Flow[None]) -> None:
        self._keep(self.run(flow, None))

    def _keep(self, coroutine: Any) -> asyncio.Task[Any]:
        # The loop itself keeps only weak references to its tasks.
        task = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _new_pool(settings: Settings) -> httpx.AsyncClient:
    return httpx.AsyncClient(**_http.options(settings, httpx.AsyncHTTPTransport))


async def _until_shutdown(shards: Shards[httpx.AsyncClient]) -> AsyncGenerator[None, None]:
    """Closes connections when it is closed, and that is also when the loop shuts down its asynchronous generators."""
    try:
        yield
    finally:
        for pool in shards.clear():
            await pool.aclose()


def limited(acquire: Callable[[Load], Acquire[Lease]], load: _limited.LoadOf) -> Callable[[F], F]:
    """Wraps a coroutine function so that each call holds a lease."""

    def decorate(function: F) -> F:
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"{function.__name__} is no coroutine function: use limited from ratequeue")

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            async with acquire(_limited.load_of(load, args, kwargs)) as lease:
                token = _limited._current.set(lease)
                try:
                    return await function(*args, **kwargs)
                finally:
                    _limited._current.reset(token)

        return wrapper  # type: ignore[return-value]

    return decorate


_of_the_parent: list[object] = []
default: Defaults[AsyncClient] = Defaults(AsyncClient)
