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
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar

from . import _client, _limited, _wire
from ._acquire import none_if_refused, reraise
from ._client import Acquire, Client, Lease, Resources
from ._limited import LoadOf, current_lease
from ._local import Local, local
from ._resource import LeaseSettings, LimitChanges, LimitSettings, QueueSettings, ResourceChanges, ResourceSettings
from ._settings import TRY_PATIENCE, OnUnavailable, OnWait, Urls, fallback
from ._signals import exit_on_signals
from ._version import __version__
from ._wire import Load
from .errors import (
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
    "AuthError",
    "Client",
    "ConfigurationError",
    "Conflict",
    "Lease",
    "LeaseLost",
    "LeaseSettings",
    "LimitChanges",
    "LimitSettings",
    "Load",
    "LoadTooLarge",
    "Local",
    "NotFound",
    "QueueFull",
    "QueueSettings",
    "RateQueueError",
    "Rejected",
    "ResourceChanges",
    "ResourceSettings",
    "Resources",
    "Unavailable",
    "WaitTimeout",
    "__version__",
    "acquire",
    "current_lease",
    "exit_on_signals",
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
    patience: Optional[float] = None,
) -> Acquire[Lease]:
    """Acquires a lease for the length of a ``with`` block, and waits in line for it as long as it takes.

    ``load``: how much it weighs, as a whole number or for each dimension of the resource.
    ``timeout``: seconds to wait in line; 0 is not at all, None as long as the resource lets anybody wait (its
    ``queue.max_wait_ms``, one minute unless it was set). Nodes that cannot be reached may add 5 s, or ``patience`` if that is less.
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
    ``patience``: seconds for which it goes on when no node decides; None as long as the client does (20).
    ``on_wait``: called with the place in line (from 1) and an estimate of the seconds left, about every 5 s;
    every second where ``on_unavailable`` is not ``"deny"``.

    The block gets a :class:`Lease`. Leaving it releases, with what was reported. Interrupting the wait gives the place up.
    Without a block: ``lease = acquire(...).open()``, and ``lease.release()`` at its end.

    Raises :class:`WaitTimeout` when the time is up; :class:`Rejected` only when ``timeout`` is 0, and the limits do not allow it
    now; :class:`QueueFull`; :class:`LoadTooLarge`; :class:`Unavailable`; :class:`LeaseLost` when the place in line was lost
    (no contact for 15 s); :class:`NotFound` when there is no such resource; :class:`AuthError`; :class:`Conflict` when the key was
    used for something else; :class:`ConfigurationError` when an argument is wrong.
    """
    choice = fallback(on_unavailable)
    request = functools.partial(
        _wire.acquire_request, resource, load, timeout, priority, ttl, idempotency_key, metadata, patience
    )
    return Acquire(lambda: _client.default(base_url, api_key), request, choice, on_wait, reraise)


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
    """Acquires without waiting: the ``with`` block gets the lease, or None when the limits do not allow it now.

    Arguments and errors as for :func:`acquire`; ``patience`` is 1 s, so that it answers by then also when nodes are dead.
    """
    choice = fallback(on_unavailable)
    request = functools.partial(
        _wire.acquire_request, resource, load, 0, priority, ttl, idempotency_key, metadata, patience
    )
    return Acquire(lambda: _client.default(base_url, api_key), request, choice, None, none_if_refused)


def limited(resource: str, load: LoadOf = 1, **options: Unpack[_limited.SharedOptions]) -> Callable[[F], F]:
    """A decorator that holds a lease around each call of a function.

    ``load`` may be a function that gets the call's arguments and gives the load. The other arguments are those of
    :func:`acquire`, but for the key; they are checked at once. In the function, :func:`current_lease` gives the lease.
    """
    given = _limited.checked("limited()", options)
    return _client.limited(lambda load: acquire(resource, load, **given), load)
