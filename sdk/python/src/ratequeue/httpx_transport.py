"""httpx transports that hold a lease for each request, from before it is sent until its body was read or its response closed.

http = httpx.Client(transport=RateQueueTransport("partner-api"))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Callable, Optional, Union

import httpx

from . import _limited, aio
from ._async_client import Acquire as AsyncAcquire
from ._async_client import AsyncClient
from ._async_client import Lease as AsyncLease
from ._client import Acquire, Client, Lease
from ._wire import Load

if TYPE_CHECKING:
    from typing_extensions import Unpack

LoadOfRequest = Union[Load, Callable[[httpx.Request], Load]]
"""A load, or a function of the request that gives one."""


def _load(load: LoadOfRequest, request: httpx.Request) -> Load:
    return load(request) if callable(load) else load


class _Stream(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, lease: Lease) -> None:
        self._stream = stream
        self._lease = lease

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream
        self._lease.release()

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._lease.release()


class RateQueueTransport(httpx.BaseTransport):
    """Holds a lease of ``resource`` for each request.

    ``load``: a load, or a function of the request that gives one. ``transport``: what sends the requests. ``client``: the
    RateQueue client (default: the shared one). ``options``: those of :func:`ratequeue.acquire`, whose errors a request raises.
    """

    def __init__(
        self,
        resource: str,
        load: LoadOfRequest = 1,
        *,
        transport: Optional[httpx.BaseTransport] = None,
        client: Optional[Client] = None,
        **options: Unpack[_limited.SharedOptions],
    ) -> None:
        from . import acquire

        self._acquire: Callable[..., Acquire[Lease]] = client.acquire if client is not None else acquire
        self._resource = resource
        self._load = load
        self._transport = transport or httpx.HTTPTransport()
        self._options = _limited.checked("RateQueueTransport", options, shared=client is None)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        lease = self._acquire(self._resource, _load(self._load, request), **self._options).open()
        try:
            response = self._transport.handle_request(request)
            assert isinstance(response.stream, httpx.SyncByteStream)
            response.stream = _Stream(response.stream, lease)
        except BaseException:
            lease.release()
            raise
        return response

    def close(self) -> None:
        self._transport.close()


class _AsyncStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, lease: AsyncLease) -> None:
        self._stream = stream
        self._lease = lease

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part
        await self._lease.release()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            await self._lease.release()


class AsyncRateQueueTransport(httpx.AsyncBaseTransport):
    """As :class:`RateQueueTransport`, for ``httpx.AsyncClient``."""

    def __init__(
        self,
        resource: str,
        load: LoadOfRequest = 1,
        *,
        transport: Optional[httpx.AsyncBaseTransport] = None,
        client: Optional[AsyncClient] = None,
        **options: Unpack[_limited.SharedOptions],
    ) -> None:
        self._acquire: Callable[..., AsyncAcquire[AsyncLease]] = client.acquire if client is not None else aio.acquire
        self._resource = resource
        self._load = load
        self._transport = transport or httpx.AsyncHTTPTransport()
        self._options = _limited.checked("AsyncRateQueueTransport", options, shared=client is None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        lease = await self._acquire(self._resource, _load(self._load, request), **self._options).open()
        try:
            response = await self._transport.handle_async_request(request)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _AsyncStream(response.stream, lease)
        except BaseException:
            await lease.release()
            raise
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()
