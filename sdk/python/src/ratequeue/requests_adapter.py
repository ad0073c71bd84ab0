"""An adapter for ``requests`` that holds a lease for each request.

    session = requests.Session()
    session.mount("https://api.example.com/", RateQueueAdapter("partner-api"))

The lease is released when the body has been read; with ``stream=True``, when the response is closed (use ``with``).
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Union

import requests
from requests.adapters import HTTPAdapter

from . import _limited
from ._client import Acquire, Client
from ._wire import Load

LoadOfRequest = Union[Load, Callable[[requests.PreparedRequest], Load]]
"""A load, or a function of the request that gives one."""


class RateQueueAdapter(HTTPAdapter):
    """Holds a lease of ``resource`` for each request.

    ``load``: a load, or a function of the request that gives one. ``client``: the RateQueue client (default: the shared one).
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
        **options: Any,
    ) -> None:
        from . import acquire

        super().__init__(**(adapter or {}))
        self._acquire: Callable[..., Acquire[Any]] = client.acquire if client is not None else acquire
        self._resource = resource
        self._load = load
        self._options = _limited.repeated(options)

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, *args: Any, **kwargs: Any
    ) -> requests.Response:
        load = self._load(request) if callable(self._load) else self._load
        lease = self._acquire(self._resource, load, **self._options)
        lease.__enter__()
        try:
            response = super().send(request, stream, *args, **kwargs)
            if not stream:
                # Read here what the session would read right after.
                _ = response.content
        except BaseException:
            lease.__exit__(None, None, None)
            raise
        if stream:
            _release_at_close(response, lease)
        else:
            lease.__exit__(None, None, None)
        return response


def _release_at_close(response: requests.Response, lease: Acquire[Any]) -> None:
    close = response.close

    def closing() -> None:
        try:
            close()
        finally:
            lease.__exit__(None, None, None)

    response.close = closing  # type: ignore[method-assign]
