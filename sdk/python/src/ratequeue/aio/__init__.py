"""RateQueue for asyncio.

    import ratequeue.aio as rq

    async with rq.acquire("openai-eu", load=2000) as lease:
        response = await openai_client.chat.completions.create(...)
        lease.report_from(response)

Arguments, results and errors are those of :mod:`ratequeue`. It runs under asyncio, not under trio.

An :class:`AsyncClient` may be used in several event loops, one after the other or in several threads: each loop gets connections
of its own, which are closed by :meth:`AsyncClient.aclose`, or when the loop shuts down its asynchronous generators, as
``asyncio.run`` does.
"""

from __future__ import annotations

from .._async.client import AsyncClient, Resources
from .._async.functions import acquire, limited, try_acquire
from .._async.lease import Acquire, Lease
from .._limited import current_lease
from .._local import Local, local
from .._wire import Load
from ..errors import (
    AuthError,
    ConfigurationError,
    Conflict,
    LeaseLost,
    LoadTooLarge,
    NotFound,
    QueueFull,
    RateQueueError,
    Rejected,
    Unavailable,
    WaitTimeout,
)

__all__ = [
    "Acquire",
    "AsyncClient",
    "AuthError",
    "ConfigurationError",
    "Conflict",
    "Lease",
    "LeaseLost",
    "Load",
    "LoadTooLarge",
    "Local",
    "NotFound",
    "QueueFull",
    "RateQueueError",
    "Rejected",
    "Resources",
    "Unavailable",
    "WaitTimeout",
    "acquire",
    "current_lease",
    "limited",
    "local",
    "try_acquire",
]
