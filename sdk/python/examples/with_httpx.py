"""Every request of an httpx client holds a lease. RATEQUEUE_URL names the node."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import provider

import ratequeue
from ratequeue.httpx_transport import AsyncRateQueueTransport, RateQueueTransport

RESOURCE = "example-httpx"
CALL = {"model": "m", "max_tokens": 500, "messages": []}


async def at_once(url: str) -> None:
    transport = AsyncRateQueueTransport(RESOURCE, load=500)
    async with httpx.AsyncClient(transport=transport, base_url=url) as http:
        answers = await asyncio.gather(*(http.post("/v1/chat/completions", json=CALL) for _ in range(10)))
    assert all(answer.status_code == 200 for answer in answers)


def main() -> None:
    with ratequeue.Client() as client:
        client.resources.put(RESOURCE, {"limits": provider.LIMITS})
    with provider.running() as api:
        transport = RateQueueTransport(RESOURCE, load=500)
        with httpx.Client(transport=transport, base_url=api.url) as http, ThreadPoolExecutor(8) as threads:
            calls = [threads.submit(http.post, "/v1/chat/completions", json=CALL) for _ in range(8)]
            assert all(call.result().status_code == 200 for call in calls)
        asyncio.run(at_once(api.url))
        provider.summary(api)


if __name__ == "__main__":
    main()
