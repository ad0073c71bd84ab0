"""The asyncio client."""

from __future__ import annotations

import asyncio
import functools
import threading
import weakref
from collections.abc import AsyncIterator, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, TypeVar

from . import _admin, _answers, _limited, _wire, otel
from ._acquire import BaseAcquire, none_if_refused, owing, reraise
from ._admin import Resource
from ._defaults import Defaults, after_fork
from ._flows import Core, Grant
from ._lease import BaseLease
from ._loops import InLoop
from ._resource import ResourceChanges, ResourceSettings
from ._settings import PATIENCE, TRY_PATIENCE, OnUnavailable, OnWait, Urls, fallback, settings
from ._wire import AcquireRequest, Answer, Call, Load
from .errors import ConfigurationError, QueueFull, Rejected

if TYPE_CHECKING:
    from typing_extensions import Unpack

F = TypeVar("F", bound=Callable[..., Coroutine[Any, Any, Any]])
L = TypeVar("L")


class Lease(BaseLease[asyncio.Event]):
    """A lease that is held; see :class:`~ratequeue._lease.BaseLease`. ``lost`` is an ``asyncio.Event``."""

    def __init__(self, runner: InLoop, request: AcquireRequest, grant: Grant) -> None:
        super().__init__(runner, request, grant, asyncio.Event())
        self._runner = runner

    async def release(self) -> None:
        """Gives it back. As :meth:`ratequeue.Lease.release`."""
        make = self._ending()
        if make is None:
            return
        try:
            kept = await self._runner.run(make())
        except BaseException:
            # Cancelled in the middle of it. Releasing twice does no harm, not releasing would.
            await self._runner.finish(make)
            self._ended(None)
            raise
        self._ended(kept)

    async def extend(self, ttl: Optional[float] = None) -> None:
        """Sets its deadline anew. As :meth:`ratequeue.Lease.extend`."""
        await self._runner.run(self._extending(ttl))


class Acquire(BaseAcquire["AsyncClient", L]):
    """An acquire that was asked for. Entering its block waits in line; leaving it releases. :meth:`open` does without a block."""

    async def open(self) -> L:
        """Acquires without a block. As :meth:`ratequeue.Acquire.open`; what is held when its loop is shut down is released."""
        client, request = self._begin()
        runner = await client._in_loop()
        core = runner.core
        attempt, give_up = owing(runner, request)
        lease: Optional[Lease] = None
        try:
            with otel.acquiring(core.settings.tracer, request) as granted:
                grant = await runner.run(core.open(request, attempt, self._on_unavailable), self._on_wait)
                granted(grant.view.id, grant.view.waited, grant.degraded)
            lease = Lease(runner, request, grant)
            lease._heart.start()
        except BaseException as error:
            # Interrupted while it waited, by a cancellation, its own hook or a heartbeat that cannot start: the place in line goes
            # back, or the lease. Of what the server has decided there is none.
            if lease is not None:
                lease._ending()
                lease._ended(None)
            if attempt.sent:
                await runner.finish(give_up)
            if isinstance(error, (Rejected, QueueFull)):
                return self._refused(error)
            raise
        finally:
            runner.owed.pop(attempt, None)
        return lease  # type: ignore[return-value]

    async def __aenter__(self) -> L:
        return self._enter(await self.open())

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        lease: Optional[Lease] = self._leave()
        if lease is not None:
            await lease.release()


class Resources:
    """Makes, changes and lists resources. Errors are those of the same calls of :class:`ratequeue.Client`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def put(
        self,
        name: str,
        resource: ResourceSettings,
        *,
        if_version: Optional[int] = None,
        create_only: bool = False,
    ) -> Resource:
        """Creates or replaces a resource, and gives it as it is then. Arguments and errors as in :class:`ratequeue.Client`."""
        return await self._client._read(_admin.put(name, resource, if_version, create_only))

    async def get(self, name: str) -> Resource:
        """A resource. Raises :class:`NotFound`."""
        return await self._client._read(_admin.get(name))

    async def patch(self, name: str, changes: ResourceChanges, *, if_version: Optional[int] = None) -> Resource:
        """Changes what ``changes`` names (a JSON merge patch; None removes), and gives the resource as it is then."""
        return await self._client._read(_admin.patch(name, changes, if_version))

    async def delete(self, name: str) -> None:
        """Deletes a resource. Who waits for it gets an error; who holds a lease of it is forgotten."""
        await self._client._read(_admin.delete(name))

    async def list(self) -> AsyncIterator[Resource]:
        """All resources in name order, read page by page."""
        async for item in self._client._pages(_admin.page):
            yield item


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
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, InLoop] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        after_fork(self)

    @property
    def resources(self) -> Resources:
        """Makes, changes and lists resources."""
        return Resources(self)

    async def stats(self, resource: str) -> dict[str, Any]:
        """How a resource stands. See :meth:`ratequeue.Client.stats`."""
        return await self._read(_admin.stats(resource))

    def leases(
        self, resource: str, state: Optional[Literal["held", "waiting"]] = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Who holds a resource and who waits for it. See :meth:`ratequeue.Client.leases`."""
        return self._pages(functools.partial(_admin.leases, resource, state))

    async def _pages(self, page: Callable[[Optional[str]], Call]) -> AsyncIterator[dict[str, Any]]:
        cursor: Optional[str] = None
        while True:
            items, cursor = _answers.page(await self._answer(page(cursor)))
            for item in items:
                yield item
            if cursor is None:
                return

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
        patience: Optional[float] = None,
    ) -> Acquire[Lease]:
        """Acquires a lease for the length of an ``async with`` block. See :func:`ratequeue.acquire`."""
        choice = None if on_unavailable is None else fallback(on_unavailable)
        request = functools.partial(
            _wire.acquire_request, resource, load, timeout, priority, ttl, idempotency_key, metadata, patience
        )
        return Acquire(lambda: self, request, choice, on_wait, reraise)

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
        patience: Optional[float] = TRY_PATIENCE,
    ) -> Acquire[Optional[Lease]]:
        """Acquires without waiting: the block gets the lease, or None when the limits do not allow it now."""
        choice = None if on_unavailable is None else fallback(on_unavailable)
        request = functools.partial(
            _wire.acquire_request, resource, load, 0, priority, ttl, idempotency_key, metadata, patience
        )
        return Acquire(lambda: self, request, choice, None, none_if_refused)

    def limited(
        self, resource: str, load: _limited.LoadOf = 1, **options: Unpack[_limited.Options]
    ) -> Callable[[F], F]:
        """A decorator that holds a lease around each call. See :func:`ratequeue.aio.limited`."""
        given = _limited.checked("limited()", options, shared=False)
        return limited(lambda load: self.acquire(resource, load, **given), load)

    async def aclose(self) -> None:
        """Closes the connections of the running loop, after the releases that are under way."""
        with self._lock:
            runner = self._loops.pop(_running_loop(), None)
        if runner is not None:
            await runner.aclose()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self._core.settings.urls)}>"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def _read(self, call: Call) -> dict[str, Any]:
        answer = await self._answer(call)
        self._core.know_limits(answer)
        return _answers.view(answer)

    async def _answer(self, call: Call) -> Answer:
        runner = await self._in_loop()
        return await runner.run(self._core.call(call))

    async def _in_loop(self) -> InLoop:
        """What carries out the calls of the running loop."""
        loop = _running_loop()
        with self._lock:
            runner = self._loops.get(loop)
            if runner is not None and not runner.closed:
                return runner
            # What hangs on a loop keeps it in turn, also one that was closed without its asynchronous generators.
            for other in list(self._loops):
                if other.is_closed():
                    self._loops.pop(other, None)
            runner = self._loops[loop] = InLoop(self._core, loop)
        await runner.open()
        return runner

    def _after_fork(self) -> None:
        # The parent goes on with its loops and connections. They are kept from being collected here, so that nothing is
        # said on them from this process.
        _of_the_parent.append(self._loops)
        for runner in list(self._loops.values()):
            runner.forget()
        self._core.after_fork()
        self._loops = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "ratequeue.aio needs a running asyncio loop, and there is none here: call it in a coroutine under asyncio.run. "
            "With trio use the blocking client in a thread: await trio.to_thread.run_sync(...)"
        ) from None


def limited(acquire: Callable[[Load], Acquire[Lease]], load: _limited.LoadOf) -> Callable[[F], F]:
    """Wraps a coroutine function so that each call holds a lease."""

    def decorate(function: F) -> F:
        _limited.refuse_generators(function)
        if not _limited.is_coroutine(function):
            raise ConfigurationError(
                f"{_limited.name_of(function)} is no coroutine function: use limited from ratequeue"
            )

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            async with acquire(_limited.load_of(load, args, kwargs)):
                return await function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    return decorate


_of_the_parent: list[object] = []
default: Defaults[AsyncClient] = Defaults(AsyncClient)
