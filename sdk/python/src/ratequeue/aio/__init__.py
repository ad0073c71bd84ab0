"""RateQueue for asyncio.

    import ratequeue.aio as rq

    async with rq.acquire("openai-eu", load=2000) as lease:
        response = await openai_client.chat.completions.create(...)
        lease.report_from(response)

Arguments, results and errors are those of :mod:`ratequeue`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Callable, Optional, TypeVar

from .. import _async_client, _limited, _wire
from .._async_client import Acquire, AsyncClient, Lease
from .._client import gives_none, raises
from .._limited import LoadOf, current_lease
from .._local import Local, local
from .._settings import OnUnavailable, OnWait, Urls, fallback
from .._wire import Load
from ..errors import (
    AuthError,
    ConfigurationError,
    LeaseLost,
    LoadTooLarge,
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
    "Lease",
    "LeaseLost",
    "Load",
    "LoadTooLarge",
    "Local",
    "QueueFull",
    "RateQueueError",
    "Rejected",
    "Unavailable",
    "WaitTimeout",
    "acquire",
    "current_lease",
    "limited",
    "local",
    "try_acquire",
]

F = TypeVar("F", bound=Callable[..., Any])


def acquire(
    resource: str,
    load: Load = 1,
    *,
    timeout: Optional[float] = None,
    priority: int = 5,
    ttl: Optional[float] = None,
    api_key: Optional[str] = None,
    base_url: Urls = None,
    idempotency_key: Optional[str] = None,
    on_unavailable: OnUnavailable = "deny",
    metadata: Optional[Mapping[str, str]] = None,
    on_wait: Optional[OnWait] = None,
) -> Acquire[Lease]:
    """Acquires a lease for the length of an ``async with`` block, and waits in line for it as long as it takes.

    Arguments and errors as for :func:`ratequeue.acquire`. ``on_wait`` may also be a coroutine function. Cancelling the task
    while it waits gives the place in line up.
    """
    choice = fallback(on_unavailable)
    ask = functools.partial(_wire.ask, resource, load, timeout, priority, ttl, idempotency_key, metadata)
    return Acquire(lambda: _async_client.default(base_url, api_key), ask, choice, on_wait, raises)


def try_acquire(
    resource: str,
    load: Load = 1,
    *,
    priority: int = 5,
    ttl: Optional[float] = None,
    api_key: Optional[str] = None,
    base_url: Urls = None,
    idempotency_key: Optional[str] = None,
    on_unavailable: OnUnavailable = "deny",
    metadata: Optional[Mapping[str, str]] = None,
) -> Acquire[Optional[Lease]]:
    """Acquires without waiting: the block gets the lease, or None when the limits do not allow it now.

    Arguments and errors as for :func:`acquire`.
    """
    choice = fallback(on_unavailable)
    ask = functools.partial(_wire.ask, resource, load, 0, priority, ttl, idempotency_key, metadata)
    return Acquire(lambda: _async_client.default(base_url, api_key), ask, choice, None, gives_none)


def limited(resource: str, load: LoadOf = 1, **options: Any) -> Callable[[F], F]:
    """A decorator that holds a lease around each call of a coroutine function. As :func:`ratequeue.limited`."""
    options = _limited.repeated(options)
    return _async_client.limited(lambda load: acquire(resource, load, **options), load)
