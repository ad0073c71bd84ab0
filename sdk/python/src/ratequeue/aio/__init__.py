"""RateQueue for asyncio.

    import ratequeue.aio as rq

    async with rq.acquire("openai-eu", load=2000) as lease:
        response = await openai_client.chat.completions.create(...)
        lease.report_from(response)

Arguments, results and errors are those of :mod:`ratequeue`. It runs under asyncio, not under trio.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Callable, Optional

from .. import _async_client, _limited, _wire
from .._acquire import none_if_refused, reraise
from .._async_client import Acquire, AsyncClient, F, Lease, Resources
from .._limited import LoadOf, current_lease
from .._local import Local, local
from .._settings import TRY_PATIENCE, OnUnavailable, OnWait, Urls, fallback
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

if TYPE_CHECKING:
    from typing_extensions import Unpack

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
    patience: Optional[float] = None,
) -> Acquire[Lease]:
    """Acquires a lease for the length of an ``async with`` block, and waits in line for it as long as it takes.

    Arguments and errors as for :func:`ratequeue.acquire`. ``on_wait`` may also be a coroutine function. Cancelling the task
    while it waits gives the place in line up.
    """
    choice = fallback(on_unavailable)
    request = functools.partial(
        _wire.acquire_request, resource, load, timeout, priority, ttl, idempotency_key, metadata, patience
    )
    return Acquire(lambda: _async_client.default(base_url, api_key), request, choice, on_wait, reraise)


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
    patience: Optional[float] = TRY_PATIENCE,
) -> Acquire[Optional[Lease]]:
    """Acquires without waiting: the block gets the lease, or None when the limits do not allow it now.

    Arguments and errors as for :func:`acquire`; ``patience`` is 1 s, so that it answers by then also when nodes are dead.
    """
    choice = fallback(on_unavailable)
    request = functools.partial(
        _wire.acquire_request, resource, load, 0, priority, ttl, idempotency_key, metadata, patience
    )
    return Acquire(lambda: _async_client.default(base_url, api_key), request, choice, None, none_if_refused)


def limited(resource: str, load: LoadOf = 1, **options: Unpack[_limited.SharedOptions]) -> Callable[[F], F]:
    """A decorator that holds a lease around each call of a coroutine function. As :func:`ratequeue.limited`."""
    given = _limited.checked("limited()", options)
    return _async_client.limited(lambda load: acquire(resource, load, **given), load)
