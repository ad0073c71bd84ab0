"""The blocking client."""

from __future__ import annotations

import atexit
import functools
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, TypeVar

from . import _admin, _answers, _limited, _wire, otel
from ._acquire import BaseAcquire, none_if_refused, owing, reraise
from ._admin import Resource
from ._defaults import Defaults, after_fork
from ._flows import Core, Grant
from ._lease import BaseLease
from ._resource import ResourceChanges, ResourceSettings
from ._settings import PATIENCE, TRY_PATIENCE, OnUnavailable, OnWait, Urls, fallback, settings
from ._threads import Blocking
from ._wire import AcquireRequest, Answer, Call, Load
from .errors import ConfigurationError, QueueFull, Rejected

if TYPE_CHECKING:
    from typing_extensions import Unpack

F = TypeVar("F", bound=Callable[..., Any])
L = TypeVar("L")


class Lease(BaseLease[threading.Event]):
    """A lease that is held; see :class:`~ratequeue._lease.BaseLease`. ``lost`` is a ``threading.Event``."""

    def __init__(self, runner: Blocking, request: AcquireRequest, grant: Grant) -> None:
        super().__init__(runner, request, grant, threading.Event())
        self._runner = runner

    def release(self) -> None:
        """Gives it back, with what was reported, as the end of its block does. A second time does nothing.

        Never raises because of the server: the work is done. When no node answers it takes 3 s at most, and goes on in the
        background.
        """
        make = self._ending()
        if make is None:
            return
        try:
            kept = self._runner.run(make())
        except BaseException:
            # Interrupted in the middle of it, by Ctrl-C. Releasing twice does no harm, not releasing would.
            self._runner.finish(make)
            self._ended(None)
            raise
        self._ended(kept)

    def extend(self, ttl: Optional[float] = None) -> None:
        """Sets its deadline to its time to live from now on; with ``ttl`` (in seconds) to that, also in the background from now on.

        Leases are extended in the background anyway: this is for work that is about to stop the whole process for a while. Raises
        :class:`LeaseLost`; :class:`Unavailable` when no node answers while it can be relied on; :class:`ConfigurationError`.
        """
        self._runner.run(self._extending(ttl))


class Acquire(BaseAcquire["Client", L]):
    """An acquire that was asked for. Entering its block waits in line; leaving it releases. :meth:`open` does without a block."""

    def open(self) -> L:
        """Acquires without a block: the lease is held until :meth:`Lease.release`, and extended in the background meanwhile.

        It is released too when it is dropped (with a ``ResourceWarning``), and when the process ends. Raises what entering a block
        raises.
        """
        client, request = self._begin()
        runner = client._runner
        core = runner.core
        attempt, give_up = owing(runner, request)
        lease: Optional[Lease] = None
        try:
            with otel.acquiring(core.settings.tracer, request) as granted:
                grant = runner.run(core.open(request, attempt, self._on_unavailable), self._on_wait)
                granted(grant.view.id, grant.view.waited, grant.degraded)
            lease = Lease(runner, request, grant)
            lease._heart.start()
        except BaseException as error:
            # Interrupted while it waited, by Ctrl-C, its own hook or a heartbeat that cannot start: the place in line goes
            # back, or the lease. Of what the server has decided there is none.
            if lease is not None:
                lease._ending()
                lease._ended(None)
            if attempt.sent:
                runner.finish(give_up)
            if isinstance(error, (Rejected, QueueFull)):
                return self._refused(error)
            raise
        finally:
            runner.owed.pop(attempt, None)
        return lease  # type: ignore[return-value]

    def __enter__(self) -> L:
        return self._enter(self.open())

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        lease: Optional[Lease] = self._leave()
        if lease is not None:
            lease.release()


class Resources:
    """Makes, changes and lists resources. What a resource is made of: ``docs/api.md``, *Resources*.

    All calls raise :class:`Unavailable` and :class:`AuthError` too.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def put(
        self,
        name: str,
        resource: ResourceSettings,
        *,
        if_version: Optional[int] = None,
        create_only: bool = False,
    ) -> Resource:
        """Creates or replaces a resource, and gives it as it is then. Its form: :class:`ratequeue.ResourceSettings`.

        ``if_version``: only if it is in this version. ``create_only``: only if it does not exist. Raises :class:`Conflict` when
        that does not hold, or it lives elsewhere; :class:`ConfigurationError` (``code`` says why: ``invalid-resource``, ...).
        """
        return self._client._read(_admin.put(name, resource, if_version, create_only))

    def get(self, name: str) -> Resource:
        """A resource. Raises :class:`NotFound`."""
        return self._client._read(_admin.get(name))

    def patch(self, name: str, changes: ResourceChanges, *, if_version: Optional[int] = None) -> Resource:
        """Changes what ``changes`` names (a JSON merge patch; None removes), and gives the resource as it is then.

        Raises :class:`NotFound`, and what :meth:`put` raises.
        """
        return self._client._read(_admin.patch(name, changes, if_version))

    def delete(self, name: str) -> None:
        """Deletes a resource. Who waits for it gets an error; who holds a lease of it is forgotten.

        Raises :class:`NotFound`.
        """
        self._client._read(_admin.delete(name))

    def list(self) -> Iterator[Resource]:
        """All resources in name order, read page by page."""
        return self._client._pages(_admin.page)


class Client:
    """A client of one cluster. Safe for threads and for forks; close it, or use it as a context manager.

    ``base_url``: the nodes' URLs, as a list or separated by commas (default: ``RATEQUEUE_URL``, else ``http://127.0.0.1:7600``);
    ``http://`` may be left out. ``api_key``: default ``RATEQUEUE_API_KEY``. ``patience``: seconds for which a call goes on
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
        self._runner = Blocking(self._core)
        after_fork(self)

    @property
    def resources(self) -> Resources:
        """Makes, changes and lists resources."""
        return Resources(self)

    def stats(self, resource: str) -> dict[str, Any]:
        """How a resource stands: ``queue_depth``, ``held``, ``limits``, ``throughput``, ``wait_ms``, ...

        As the asked node sees it; it may lag. Raises :class:`NotFound`.
        """
        return self._read(_admin.stats(resource))

    def leases(self, resource: str, state: Optional[Literal["held", "waiting"]] = None) -> Iterator[dict[str, Any]]:
        """Who holds a resource and who waits for it, or only one of both, read page by page.

        First the held leases, then those in line in its order; each with ``id``, ``state``, ``load``, ``priority``, ...
        As the asked node sees it; it may lag. Raises :class:`NotFound`.
        """
        return self._pages(functools.partial(_admin.leases, resource, state))

    def _pages(self, page: Callable[[Optional[str]], Call]) -> Iterator[dict[str, Any]]:
        cursor: Optional[str] = None
        while True:
            items, cursor = _answers.page(self._answer(page(cursor)))
            yield from items
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
        """Acquires a lease for the length of a ``with`` block. See :func:`ratequeue.acquire`."""
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
        """A decorator that holds a lease around each call. See :func:`ratequeue.limited`."""
        given = _limited.checked("limited()", options, shared=False)
        return limited(lambda load: self.acquire(resource, load, **given), load)

    def close(self) -> None:
        """Closes the connections and ends the background thread, after the releases that are under way.

        Leases that are held are no longer extended. They can still be released.
        """
        self._runner.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self._core.settings.urls)}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _read(self, call: Call) -> dict[str, Any]:
        answer = self._answer(call)
        self._core.know_limits(answer)
        return _answers.view(answer)

    def _answer(self, call: Call) -> Answer:
        return self._runner.run(self._core.call(call))

    def _after_fork(self) -> None:
        self._runner.forget()
        self._core.after_fork()
        self._runner = Blocking(self._core)


def limited(acquire: Callable[[Load], Acquire[Lease]], load: _limited.LoadOf) -> Callable[[F], F]:
    """Wraps a function so that each call holds a lease."""

    def decorate(function: F) -> F:
        _limited.refuse_generators(function)
        if _limited.is_coroutine(function):
            raise ConfigurationError(f"{_limited.name_of(function)} is async: use limited from ratequeue.aio")

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with acquire(_limited.load_of(load, args, kwargs)):
                return function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    return decorate


default: Defaults[Client] = Defaults(Client)


@atexit.register
def _close_defaults() -> None:
    for client in default.clear():
        client.close()
