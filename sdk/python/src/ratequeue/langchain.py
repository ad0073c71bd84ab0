"""A rate limiter for LangChain's chat models.

    model = ChatOpenAI(model="gpt-4o", rate_limiter=RateQueueRateLimiter("openai-eu", load=2000))

LangChain asks before each call and does not say when the call is over. So the lease is released at once, and its whole load
stays charged: rates hold, limits on concurrency do not. For those, put ``ratequeue.acquire`` around the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional

from langchain_core.rate_limiters import BaseRateLimiter

from . import _limited, aio
from . import acquire as shared_acquire
from . import try_acquire as shared_try_acquire
from ._async_client import AsyncClient
from ._client import Client
from ._wire import Load

if TYPE_CHECKING:
    from typing_extensions import Unpack


class RateQueueRateLimiter(BaseRateLimiter):
    """Waits in line for each call of a model.

    ``load``: how much a call weighs. ``client``, ``async_client``: the RateQueue clients (default: the shared ones).
    ``options``: those of :func:`ratequeue.acquire`, whose errors a call raises; its ``timeout`` and ``on_wait`` count only for
    calls that wait.
    """

    def __init__(
        self,
        resource: str,
        load: Load = 1,
        *,
        client: Optional[Client] = None,
        async_client: Optional[AsyncClient] = None,
        **options: Unpack[_limited.SharedOptions],
    ) -> None:
        self._resource = resource
        self._load = load
        self._options = _limited.checked(
            "RateQueueRateLimiter", options, shared=client is None and async_client is None
        )
        self._try_options = {name: value for name, value in self._options.items() if name not in ("on_wait", "timeout")}
        self._acquire: Callable[..., Any] = client.acquire if client else shared_acquire
        self._try_acquire: Callable[..., Any] = client.try_acquire if client else shared_try_acquire
        self._async_acquire: Callable[..., Any] = async_client.acquire if async_client else aio.acquire
        self._async_try_acquire: Callable[..., Any] = async_client.try_acquire if async_client else aio.try_acquire

    def acquire(self, *, blocking: bool = True) -> bool:
        """Waits for its turn, and gives True; without ``blocking``, gives at once whether it is granted now."""
        if not blocking:
            with self._try_acquire(self._resource, self._load, **self._try_options) as lease:
                return lease is not None
        with self._acquire(self._resource, self._load, **self._options):
            return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """As :meth:`acquire`."""
        if not blocking:
            async with self._async_try_acquire(self._resource, self._load, **self._try_options) as lease:
                return lease is not None
        async with self._async_acquire(self._resource, self._load, **self._options):
            return True
