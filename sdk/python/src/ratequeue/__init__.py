"""RateQueue: a distributed rate limiter with a queue.

    import ratequeue

    with ratequeue.acquire("openai-eu", load=2000) as lease:
        response = openai_client.chat.completions.create(...)
        lease.report_from(response)

The same for asyncio is in :mod:`ratequeue.aio`. Times are in seconds everywhere.
"""

from __future__ import annotations

import atexit

from ._limited import current_lease
from ._local import Local, local
from ._resource import LeaseSettings, LimitChanges, LimitSettings, QueueSettings, ResourceChanges, ResourceSettings
from ._signals import exit_on_signals
from ._sync.client import Client, Resources
from ._sync.functions import acquire, limited, try_acquire
from ._sync.functions import shared as _shared
from ._sync.lease import Acquire, Lease
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


@atexit.register
def _close_shared_clients() -> None:
    for client in _shared.clear():
        client.close()
