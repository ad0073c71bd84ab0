"""Transports for httpx that hold a lease for each request, until its body was read or its response closed.

http = httpx.Client(transport=RateQueueTransport("partner-api"))
"""

from __future__ import annotations

from ._async.transport import AsyncRateQueueTransport
from ._sync.transport import LoadOfRequest, RateQueueTransport

__all__ = ["AsyncRateQueueTransport", "LoadOfRequest", "RateQueueTransport"]
