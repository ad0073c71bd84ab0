"""A rate limiter for LangChain's chat models.

    model = ChatOpenAI(model="gpt-4o", rate_limiter=RateQueueRateLimiter("openai-eu", load=2000))

LangChain asks before each call and does not say when the call is over. So the lease is released at once, and its whole load
stays charged: rates hold, limits on concurrency do not. For those, put ``ratequeue.acquire`` around the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional

from langchain_core.rate_limiters import BaseRateLimiter

from . import _limited
from ._async import functions as async_functions
from ._async.client import AsyncClient
from ._sync import functions
from ._sync.client import Client
from ._wire import Load

if TYPE_CHECKING:
    from typing_extensions import Unpack


class RateQueueRateLimiter(BaseRateLimiter):
    """Waits in the queue for each call of a model.

    ``load``: the load of a call. ``client``, ``async_client``: the RateQueue clients (default: the shared ones).
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
        self._client: Any = client or functions
        self._async_client: Any = async_client or async_functions

    def acquire(self, *, blocking: bool = True) -> bool:
        """Waits for its turn, and returns True; without ``blocking``, returns at once whether it is granted now."""
        with self._acquire(self._client, blocking) as lease:
            granted: bool = lease is not None
        return granted

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """Acquires with asyncio, as :meth:`acquire` does."""
        async with self._acquire(self._async_client, blocking) as lease:
            return lease is not None

    def _acquire(self, client: Any, blocking: bool) -> Any:
        if blocking:
            return client.acquire(self._resource, self._load, **self._options)
        return client.try_acquire(self._resource, self._load, **self._try_options)
