"""The functions of the package, which use shared clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Callable, Optional

from .. import _limited
from .._acquire import none_if_refused, reraise
from .._defaults import Defaults
from .._limited import LoadOf
from .._settings import TRY_PATIENCE, OnUnavailable, OnWait, Urls
from .._wire import Load
from .client import AsyncClient
from .decorator import F, holding
from .lease import Acquire, Lease

if TYPE_CHECKING:
    from typing_extensions import Unpack

shared: Defaults[AsyncClient] = Defaults(AsyncClient)


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
    """Acquires a lease for the length of a block, and waits in the queue of the resource until it is granted.

    ``load``: how much it weighs, as a whole number or for each dimension of the resource.
    ``timeout``: seconds to wait in the queue; 0 is not at all, None is as long as the resource allows (its
    ``queue.max_wait_ms``, one minute unless it was set). Nodes that cannot be reached may add 5 s, or ``patience`` if that is less.
    ``priority``: 0 (first) to 9 (last).
    ``ttl``: seconds after which the lease ends if this process dies; default and maximum are the resource's. While
    the block runs, the lease is extended in the background.
    ``api_key``, ``base_url``: default ``RATEQUEUE_API_KEY`` and ``RATEQUEUE_URL`` (several URLs separated by commas).
    ``idempotency_key``: 1 to 128 visible ASCII characters that name this one acquire; made up by default, and best left so. It
    does not name a job: an acquire with a key that was used before shares the lease of the first, and loses it when that one
    leaves its block. So a redelivered job needs another key than its first delivery; the job's id belongs in ``metadata``.
    ``on_unavailable``: what happens when no node decides for a while. ``"deny"`` raises :class:`Unavailable`;
    ``"allow"`` goes on without a limit; ``local(fraction)`` goes on with that part of the last known limits, counted in
    this process and from zero on. In the last two cases ``lease.degraded`` is True.
    ``metadata``: at most 16 pairs of strings, shown with the lease.
    ``on_wait``: called with the place in the queue (from 1) and an estimate of the seconds left, about every 5 s;
    every second where ``on_unavailable`` is not ``"deny"``. With asyncio it may be a coroutine function.
    ``patience``: seconds for which it goes on when no node decides; None as long as the client does (20).

    The block gets a :class:`Lease`. Leaving it releases the lease, with what was reported. Interrupting the wait (Ctrl-C, a
    cancelled task) gives the place in the queue up. Without a block: :meth:`Acquire.open`, and :meth:`Lease.release` at its end.

    Raises :class:`WaitTimeout` when the time is up; :class:`Rejected` only when ``timeout`` is 0, and the limits do not allow it
    now; :class:`QueueFull`; :class:`LoadTooLarge`; :class:`Unavailable`; :class:`LeaseLost` when the place in the queue was lost
    (no contact for 15 s); :class:`NotFound` when there is no such resource; :class:`AuthError`; :class:`Conflict` when the key was
    used for something else; :class:`ConfigurationError` when an argument is wrong.
    """
    return Acquire(
        lambda: shared(base_url, api_key)._runners,
        reraise,
        resource,
        load,
        timeout,
        priority,
        ttl,
        idempotency_key,
        on_unavailable,
        metadata,
        on_wait,
        patience,
    )


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
    return Acquire(
        lambda: shared(base_url, api_key)._runners,
        none_if_refused,
        resource,
        load,
        0,
        priority,
        ttl,
        idempotency_key,
        on_unavailable,
        metadata,
        None,
        patience,
    )


def limited(resource: str, load: LoadOf = 1, **options: Unpack[_limited.SharedOptions]) -> Callable[[F], F]:
    """Returns a decorator that holds a lease around each call of a function; with asyncio, of a coroutine function.

    ``load`` may be a function that gets the call's arguments and returns the load. The other arguments are those of
    :func:`acquire`, but for the key; they are checked at once. In the function, :func:`current_lease` returns the lease.
    """
    given = _limited.checked("limited()", options)
    return holding(lambda load: acquire(resource, load, **given), load)
