"""A transport for httpx that holds a lease for each request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Callable, Optional, Union

import httpx

from .. import _limited
from .._wire import Load
from .client import AsyncClient
from .functions import acquire
from .lease import Acquire, Lease

if TYPE_CHECKING:
    from typing_extensions import Unpack

LoadOfRequest = Union[Load, Callable[[httpx.Request], Load]]
"""A load, or a function of the request that returns one."""


class _Stream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, lease: Lease) -> None:
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
    """A transport that holds a lease of ``resource`` for each request, until its body was read or its response closed.

    ``load``: a load, or a function of the request that returns one. ``transport``: what sends the requests. ``client``: the
    RateQueue client (default: the shared one). ``options``: those of :func:`ratequeue.acquire`, whose errors a request raises.
    """

    def __init__(
        self,
        resource: str,
        load: LoadOfRequest = 1,
        *,
        transport: Optional[httpx.AsyncBaseTransport] = None,
        client: Optional[AsyncClient] = None,
        **options: Unpack[_limited.SharedOptions],
    ) -> None:
        self._acquire: Callable[..., Acquire[Lease]] = client.acquire if client is not None else acquire
        self._resource = resource
        self._load = load
        self._transport = transport or httpx.AsyncHTTPTransport()
        self._options = _limited.checked("AsyncRateQueueTransport", options, shared=client is None)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        load = _limited.load_of(self._load, (request,), {})
        lease = await self._acquire(self._resource, load, **self._options).open()
        try:
            response = await self._transport.handle_async_request(request)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _Stream(response.stream, lease)
        except BaseException:
            await lease.release()
            raise
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()
