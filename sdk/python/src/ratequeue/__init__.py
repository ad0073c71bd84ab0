"""RateQueue: a rate limiter that is also a waiting line.

    import ratequeue

    with ratequeue.acquire("openai-eu", load=2000) as lease:
        response = openai_client.chat.completions.create(...)
        lease.report_from(response)

The same for asyncio is in :mod:`ratequeue.aio`. Times are in seconds everywhere.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Callable, Optional, TypeVar

from . import _client, _limited, _wire
from ._admin import QueueSettings
from ._client import Acquire, Client, Lease
from ._limited import LoadOf, current_lease
from ._local import Local, local
from ._settings import OnUnavailable, OnWait, Urls, fallback
from ._wire import Load
from .errors import (
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
    "AuthError",
    "Client",
    "ConfigurationError",
    "Lease",
    "LeaseLost",
    "Load",
    "LoadTooLarge",
    "Local",
    "QueueFull",
    "QueueSettings",
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
    """Acquires a lease for the length of a ``with`` block, and waits in line for it as long as it takes.

    ``load``: how much it weighs, as a whole number or for each dimension of the resource.
    ``timeout``: seconds to wait in line; 0 is not at all, None as long as the resource lets anybody wait (its
    ``queue.max_wait_ms``, one minute unless it was set). Nodes that cannot be reached may add 5 s.
    ``priority``: 0 (first) to 9 (last).
    ``ttl``: seconds after which the lease ends if this process dies; default and maximum are the resource's. While
    the block runs, the lease is extended in the background.
    ``api_key``, ``base_url``: default ``RATEQUEUE_API_KEY`` and ``RATEQUEUE_URL`` (several URLs separated by commas).
    ``idempotency_key``: 1 to 128 visible ASCII characters that name this one acquire; made up by default, and best left so. It is
    no name of a job: whoever acquires with a key that was used shares the lease of the first, and loses it when that one
    leaves its block. So a redelivered job needs another key than its first delivery; the job's id belongs in ``metadata``.
    ``on_unavailable``: what happens when no node decides for a while. ``"deny"`` raises :class:`Unavailable`;
    ``"allow"`` goes on without a limit; ``local(fraction)`` goes on with that part of the last known limits, counted in
    this process and from zero on. In the last two cases ``lease.degraded`` is True.
    ``metadata``: at most 16 pairs of strings, shown with the lease.
    ``on_wait``: called with the place in line (from 1) and an estimate of the seconds left, about every 5 s;
    every second where ``on_unavailable`` is not ``"deny"``.

    The block gets a :class:`Lease`. Leaving it releases, with what was reported. Interrupting the wait gives the place up.

    Raises :class:`WaitTimeout` when the time is up; :class:`Rejected` only when ``timeout`` is 0, and the limits do not allow it
    now; :class:`QueueFull`; :class:`LoadTooLarge`; :class:`Unavailable`; :class:`LeaseLost` when the place in line was lost
    (no contact for 15 s); :class:`AuthError`; :class:`ConfigurationError` when an argument is wrong or there is no such
    resource.
    """
    choice = fallback(on_unavailable)
    ask = functools.partial(_wire.ask, resource, load, timeout, priority, ttl, idempotency_key, metadata)
    return Acquire(lambda: _client.default(base_url, api_key), ask, choice, on_wait, _client.raises)


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
    """Acquires without waiting: the ``with`` block gets the lease, or None when the limits do not allow it now.

    Arguments and errors as for :func:`acquire`.
    """
    choice = fallback(on_unavailable)
    ask = functools.partial(_wire.ask, resource, load, 0, priority, ttl, idempotency_key, metadata)
    return Acquire(lambda: _client.default(base_url, api_key), ask, choice, None, _client.gives_none)


def limited(resource: str, load: LoadOf = 1, **options: Any) -> Callable[[F], F]:
    """A decorator that holds a lease around each call of a function.

    ``load`` may be a function that gets the call's arguments and gives the load. The other arguments are those of
    :func:`acquire`. In the function, :func:`current_lease` gives the lease.
    """
    options = _limited.repeated(options)
    return _client.limited(lambda load: acquire(resource, load, **options), load)
