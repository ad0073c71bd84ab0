"""An adapter for ``requests`` that holds a lease for each request.

    session = requests.Session()
    session.mount("https://api.example.com/", RateQueueAdapter("partner-api"))

The lease is released when the body has been read to its end, when the response is closed, and when it is dropped.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

import requests
from requests.adapters import HTTPAdapter

from . import _limited
from ._sync.client import Client
from ._sync.functions import acquire
from ._sync.lease import Acquire, Lease
from ._wire import Load

if TYPE_CHECKING:
    from typing_extensions import Unpack

LoadOfRequest = Union[Load, Callable[[requests.PreparedRequest], Load]]
"""A load, or a function of the request that returns one."""


class RateQueueAdapter(HTTPAdapter):
    """Holds a lease of ``resource`` for each request.

    ``load``: a load, or a function of the request that returns one. ``client``: the RateQueue client (default: the shared one).
    ``options``: those of :func:`ratequeue.acquire`, whose errors a request raises. Other arguments of ``HTTPAdapter`` go in
    ``adapter``.
    """

    def __init__(
        self,
        resource: str,
        load: LoadOfRequest = 1,
        *,
        client: Optional[Client] = None,
        adapter: Optional[dict[str, Any]] = None,
        **options: Unpack[_limited.SharedOptions],
    ) -> None:
        super().__init__(**(adapter or {}))
        self._acquire: Callable[..., Acquire[Lease]] = client.acquire if client is not None else acquire
        self._resource = resource
        self._load = load
        self._options = _limited.checked("RateQueueAdapter", options, shared=client is None)

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, *args: Any, **kwargs: Any
    ) -> requests.Response:
        load = _limited.load_of(self._load, (request,), {})
        lease = self._acquire(self._resource, load, **self._options).open()
        try:
            response = super().send(request, stream, *args, **kwargs)
            if not stream:
                # Read here what the session would read right after.
                _ = response.content
        except BaseException:
            lease.release()
            raise
        if stream:
            _release_after(response.raw, lease)
        else:
            lease.release()
        return response


def _release_after(raw: Any, lease: Lease) -> None:
    """Releases a lease when urllib3 gives a response's connection back: at the end of the body, and when it is closed.

    The response keeps the lease, and nothing else does, so that both are dropped together.
    """
    again = weakref.ref(raw)

    def release_conn() -> None:
        try:
            raw = again()
            if raw is not None:
                type(raw).release_conn(raw)
        finally:
            lease.release()

    raw.release_conn = release_conn
