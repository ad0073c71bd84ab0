# Generated from _async/transport.py by generate_sync.py. Do not edit.
"""A transport for httpx that holds a lease for each request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable, Optional, Union

import httpx

from .. import _limited
from .._wire import Load
from .client import Client
from .functions import acquire
from .lease import Acquire, Lease

if TYPE_CHECKING:
    from typing_extensions import Unpack

LoadOfRequest = Union[Load, Callable[[httpx.Request], Load]]
"""A load, or a function of the request that returns one."""


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
    """A transport that holds a lease of ``resource`` for each request, until its body was read or its response closed.

    ``load``: a load, or a function of the request that returns one. ``transport``: what sends the requests. ``client``: the
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
        self._acquire: Callable[..., Acquire[Lease]] = client.acquire if client is not None else acquire
        self._resource = resource
        self._load = load
        self._transport = transport or httpx.HTTPTransport()
        self._options = _limited.checked("RateQueueTransport", options, shared=client is None)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        load = _limited.load_of(self._load, (request,), {})
        lease = self._acquire(self._resource, load, **self._options).open()
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
