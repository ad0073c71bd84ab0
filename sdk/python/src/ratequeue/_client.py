"""The blocking client."""

from __future__ import annotations

import atexit
import contextlib
import functools
import inspect
import itertools
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Callable, Generic, Optional, TypeVar

import httpx

from . import _admin, _http, _limited, _wire, otel
from ._admin import Resource
from ._defaults import Defaults, after_fork
from ._flows import GIVE_UP_TIMEOUT, Core, Progress
from ._lease import BaseLease, Heart
from ._retry import Aside, Flow, Pause, Reply, Send
from ._settings import PATIENCE, OnUnavailable, OnWait, Settings, Urls, fallback, settings
from ._shards import Shards
from ._timers import Timers, in_thread
from ._wire import Answer, Ask, Call, Load
from .errors import ConfigurationError, QueueFull, RateQueueError, Rejected

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
L = TypeVar("L")

log = logging.getLogger("ratequeue")

ONE_BLOCK = "this acquire has been entered already: call acquire for each block"


class Lease(BaseLease[threading.Event]):
    """A lease that is held; see :class:`~ratequeue._lease.BaseLease`. ``lost`` is a ``threading.Event``."""


class Acquire(Generic[L]):
    """An acquire that was asked for. Entering its block waits in line; leaving it releases."""

    def __init__(
        self,
        client: Callable[[], Client],
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
        self._held: Optional[tuple[Client, Lease, Heart[threading.Event]]] = None

    def __enter__(self) -> L:
        # Counted in one step: several threads may come at once, and only the first has a block to leave.
        if next(self._entered):
            raise ConfigurationError(ONE_BLOCK)
        client = self._make_client()
        ask = self._make_ask()
        progress = Progress()
        core = client._core
        try:
            with otel.acquiring(core.settings.tracer, ask) as granted:
                grant = client._run(core.open(ask, progress, self._on_unavailable), self._on_wait)
                granted(grant.view.id, grant.view.waited, grant.degraded)
            lease = Lease(core, ask, grant, threading.Event())
            heart = Heart(lease, client._timers.call_later, client._in_background)
            self._held = (client, lease, heart)
            heart.start()
        except BaseException as error:
            # Interrupted while it waited, by Ctrl-C, its own hook or a heartbeat that cannot start: the place in line goes
            # back, or the lease. Of what the server has decided there is none.
            held, self._held = self._held, None
            if held is not None:
                held[2].stop()
            if progress.sent:
                client._run(core.give_up(ask, progress), None)
            if isinstance(error, (Rejected, QueueFull)):
                return self._refused(error)
            raise
        return lease  # type: ignore[return-value]

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        client, lease, heart = held
        heart.stop()
        closing = lease._closing()
        if closing is None:
            return
        try:
            if client._run(closing, None) is False:
                lease.lost.set()
        except BaseException:
            # Interrupted in the middle of it, by Ctrl-C. Releasing twice does no harm, not releasing would.
            client._run(lease._core.release(lease.id, lease._used, lease._trusted_until, GIVE_UP_TIMEOUT), None)
            raise


def raises(error: RateQueueError) -> Any:
    raise error


def gives_none(error: RateQueueError) -> None:
    return None


class Resources:
    """Makes, changes and lists resources. What a resource is made of: ``docs/api.md``, *Resources*.

    All calls raise :class:`Unavailable` and :class:`AuthError` too.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def put(
        self,
        name: str,
        resource: Mapping[str, Any],
        *,
        if_version: Optional[int] = None,
        create_only: bool = False,
    ) -> Resource:
        """Creates or replaces a resource, and gives it as it is then. Its ``queue``: :class:`ratequeue.QueueSettings`.

        ``if_version``: only if it is in this version. ``create_only``: only if it does not exist. Raises
        :class:`ConfigurationError` (``code`` says why: ``invalid-resource``, ``version-conflict``, ...).
        """
        return self._client._read(_admin.put(name, resource, if_version, create_only))

    def get(self, name: str) -> Resource:
        """A resource. Raises :class:`ConfigurationError` with the code ``resource-not-found``."""
        return self._client._read(_admin.get(name))

    def patch(self, name: str, changes: Mapping[str, Any], *, if_version: Optional[int] = None) -> Resource:
        """Changes what ``changes`` names (a JSON merge patch; None removes), and gives the resource as it is then.

        Raises :class:`ConfigurationError`, as :meth:`put`.
        """
        return self._client._read(_admin.patch(name, changes, if_version))

    def delete(self, name: str) -> None:
        """Deletes a resource. Who waits for it gets an error; who holds a lease of it is forgotten.

        Raises :class:`ConfigurationError` with the code ``resource-not-found``.
        """
        self._client._read(_admin.delete(name))

    def list(self) -> Iterator[Resource]:
        """All resources in name order, read page by page."""
        cursor: Optional[str] = None
        while True:
            items, cursor = _wire.page(self._client._answer(_admin.page(cursor)))
            yield from items
            if cursor is None:
                return


class Client:
    """A client of one cluster. Safe for threads and for forks; close it, or use it as a context manager.

    ``base_url``: the nodes' URLs, without a path, as a list or separated by commas (default: ``RATEQUEUE_URL``, else
    ``http://127.0.0.1:7600``). ``api_key``: default ``RATEQUEUE_API_KEY``. ``patience``: seconds for which a call goes on
    when no node decides it (20). ``on_unavailable``: what an acquire does then, see :func:`ratequeue.acquire`; other than
    ``"deny"`` it comes into force after 3 s already. ``verify``: as in httpx, for https. ``tracer``: an OpenTelemetry tracer,
    see :mod:`ratequeue.otel`. ``proxy``: the URL of a proxy to the nodes; those of the environment are not used.

    Raises :class:`ConfigurationError`.
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
        self._start()
        after_fork(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._shards = Shards(functools.partial(_new_pool, self._core.settings))
        self._timers = Timers()

    @property
    def resources(self) -> Resources:
        """Makes, changes and lists resources."""
        return Resources(self)

    def stats(self, resource: str) -> dict[str, Any]:
        """How a resource stands: ``queue_depth``, ``held``, ``limits``, ``throughput``, ``wait_ms``, ...

        As the asked node sees it; it may lag. Raises :class:`ConfigurationError` with ``resource-not-found``.
        """
        return self._read(_admin.stats(resource))

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
        """Acquires a lease for the length of a ``with`` block. See :func:`ratequeue.acquire`."""
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
        """A decorator that holds a lease around each call. See :func:`ratequeue.limited`."""
        options = _limited.repeated(options)
        return limited(lambda load: self.acquire(resource, load, **options), load)

    def close(self) -> None:
        """Closes the connections and ends the background thread. Leases that are held are no longer extended."""
        self._timers.close()
        with self._lock:
            pools = self._shards.clear()
            self._timers = Timers()
        for pool in pools:
            pool.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _read(self, call: Call) -> dict[str, Any]:
        answer = self._answer(call)
        self._core.know_limits(answer)
        return _wire.view(answer)

    def _answer(self, call: Call) -> Answer:
        return self._run(self._core.call(call), None)

    def _run(self, flow: Flow[T], on_wait: Optional[OnWait]) -> T:
        """Carries a flow out, with calls that block."""
        with contextlib.closing(flow):
            return self._steps(flow, on_wait)

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
            elif isinstance(effect, Aside):
                try:
                    self._in_background(effect.flow)
                except RuntimeError as error:
                    # There is no thread for it. It is about leases, which end by themselves.
                    log.warning("a call in the background was left out: %s", error)
            elif on_wait is not None:
                on_wait(effect.position, effect.retry_after)

    def _send(self, send: Send) -> Reply:
        with self._lock:
            shard = self._shards.take()
        sent = self._core.clock()
        interrupted = False
        try:
            return _http.answer(send, shard[0].request(**_http.request(send)), sent)
        except httpx.HTTPError as error:
            return _http.no_answer(send, error)
        except BaseException as error:
            # A signal may interrupt httpx while it has its locks, and then nobody gets past them any more.
            interrupted = not isinstance(error, Exception)
            raise
        finally:
            with self._lock:
                if interrupted:
                    self._shards.leave(shard)
                idle = self._shards.give(shard)
            if idle is not None:
                self._close(idle, interrupted)

    @staticmethod
    def _close(pool: httpx.Client, interrupted: bool) -> None:
        if interrupted:
            # It may never come back.
            with contextlib.suppress(RuntimeError):
                in_thread(pool.close)
        else:
            pool.close()

    def _in_background(self, flow: Flow[None]) -> None:
        def run() -> None:
            try:
                self._run(flow, None)
            except Exception:
                log.exception("a call in the background failed")

        in_thread(run)

    def _after_fork(self) -> None:
        # The parent goes on with its connections and locks; this process starts with its own. The parent's are kept
        # from being collected, so that nothing is said on them from here.
        _of_the_parent.append((self._shards, self._timers))
        self._core.after_fork()
        self._start()


def _new_pool(settings: Settings) -> httpx.Client:
    return httpx.Client(**_http.options(settings, httpx.HTTPTransport))


def limited(acquire: Callable[[Load], Acquire[Lease]], load: _limited.LoadOf) -> Callable[[F], F]:
    """Wraps a function so that each call holds a lease."""

    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(f"{function.__name__} is async: use limited from ratequeue.aio")
        if inspect.isgeneratorfunction(function):
            # Its body runs after the call has ended, and the lease with it.
            raise ConfigurationError(f"{function.__name__} is a generator function: use acquire in it instead")

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with acquire(_limited.load_of(load, args, kwargs)) as lease:
                token = _limited._current.set(lease)
                try:
                    return function(*args, **kwargs)
                finally:
                    _limited._current.reset(token)

        return wrapper  # type: ignore[return-value]

    return decorate


_of_the_parent: list[object] = []
default: Defaults[Client] = Defaults(Client)


@atexit.register
def _close_defaults() -> None:
    for client in default.clear():
        client.close()
