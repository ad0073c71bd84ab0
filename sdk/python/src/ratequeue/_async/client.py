"""The client of a cluster."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional

from .. import _admin, _answers, _limited
from .._acquire import none_if_refused, reraise
from .._admin import Resource
from .._flows import Core
from .._limited import LoadOf
from .._loops import AsyncRunners
from .._resource import ResourceChanges, ResourceSettings
from .._settings import PATIENCE, TRY_PATIENCE, OnUnavailable, OnWait, Urls, settings
from .._wire import Answer, Call, Load
from .decorator import F, holding
from .lease import Acquire, Lease

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Resources:
    """Creates, changes and lists resources. What a resource consists of: ``docs/api.md``, *Resources*.

    All calls raise :class:`Unavailable` and :class:`AuthError` too.
    """

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
        """Creates or replaces a resource, and returns it as it is then. Its form: :class:`ratequeue.ResourceSettings`.

        ``if_version``: only if it is in this version. ``create_only``: only if it does not exist. Raises :class:`Conflict` when
        that does not hold, or it lives elsewhere; :class:`ConfigurationError` (``code`` says why: ``invalid-resource``, ...).
        """
        return await self._client._read(_admin.put(name, resource, if_version, create_only))

    async def get(self, name: str) -> Resource:
        """Returns a resource. Raises :class:`NotFound`."""
        return await self._client._read(_admin.get(name))

    async def patch(self, name: str, changes: ResourceChanges, *, if_version: Optional[int] = None) -> Resource:
        """Changes the fields in ``changes`` (a JSON merge patch; None removes), and returns the resource as it is then.

        Raises :class:`NotFound`, and what :meth:`put` raises.
        """
        return await self._client._read(_admin.patch(name, changes, if_version))

    async def delete(self, name: str) -> None:
        """Deletes a resource. Callers that wait for it get an error; its held leases are forgotten.

        Raises :class:`NotFound`.
        """
        await self._client._read(_admin.delete(name))

    def list(self) -> AsyncIterator[Resource]:
        """Lists all resources in name order, read page by page."""
        return self._client._pages(_admin.page)


class AsyncClient:
    """A client of one cluster. Close it, or use it as a context manager.

    It is safe for threads and forks, and with asyncio for several event loops.

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
        self._runners = AsyncRunners(self._core)

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
        """Acquires a lease for the length of a block. Arguments and errors as for :func:`ratequeue.acquire`."""
        return Acquire(
            lambda: self._runners,
            reraise,
            resource,
            load,
            timeout,
            priority,
            ttl,
            idempotency_key,
            on_unavailable,
            metadata,
            on_wait,
            patience,
        )

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
        return Acquire(
            lambda: self._runners,
            none_if_refused,
            resource,
            load,
            0,
            priority,
            ttl,
            idempotency_key,
            on_unavailable,
            metadata,
            None,
            patience,
        )

    def limited(self, resource: str, load: LoadOf = 1, **options: Unpack[_limited.Options]) -> Callable[[F], F]:
        """Returns a decorator that holds a lease around each call. See :func:`ratequeue.limited`."""
        given = _limited.checked("limited()", options, shared=False)
        return holding(lambda load: self.acquire(resource, load, **given), load)

    @property
    def resources(self) -> Resources:
        """Creates, changes and lists resources."""
        return Resources(self)

    async def stats(self, resource: str) -> dict[str, Any]:
        """Returns figures of a resource: ``queue_depth``, ``held``, ``limits``, ``throughput``, ``wait_ms``, ...

        They are those of the asked node, which may lag. Raises :class:`NotFound`.
        """
        return await self._read(_admin.stats(resource))

    def leases(
        self, resource: str, state: Optional[Literal["held", "waiting"]] = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Lists the leases of a resource, those that are held, that wait, or both, read page by page.

        First the held leases, then the queue in its order; each with ``id``, ``state``, ``load``, ``priority``, ... They are
        those of the asked node, which may lag. Raises :class:`NotFound`.
        """
        return self._pages(functools.partial(_admin.leases, resource, state))

    async def aclose(self) -> None:
        """Closes the connections (with asyncio those of the running loop), after the releases that are under way.

        Leases that are held are no longer extended. They can still be released.
        """
        await self._runners.aclose()

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

    async def _pages(self, page: Callable[[Optional[str]], Call]) -> AsyncIterator[dict[str, Any]]:
        cursor: Optional[str] = None
        while True:
            items, cursor = _answers.page(await self._answer(page(cursor)))
            for item in items:
                yield item
            if cursor is None:
                return

    async def _answer(self, call: Call) -> Answer:
        runner = await self._runners.current()
        return await runner.run(self._core.call(call))
