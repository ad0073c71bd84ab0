"""The call of the product page, many times at once, with real usage reported. RATEQUEUE_URL names the node.

The client here is a small one of our own that speaks to the examples' provider; ``openai.AsyncOpenAI`` is used in the same way.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import provider

import ratequeue.aio as rq

RESOURCE = "example-openai"


async def complete(http: httpx.AsyncClient) -> Any:
    async with rq.acquire(RESOURCE, load=700) as lease:
        response = await http.post("/v1/chat/completions", json={"model": "gpt-4o", "max_tokens": 400})
        response.raise_for_status()
        lease.report_from(response)
        return response.json()


async def run(api: provider.Provider) -> None:
    async with rq.AsyncClient() as client:
        await client.resources.put(RESOURCE, {"limits": provider.LIMITS})
    async with httpx.AsyncClient(base_url=api.url) as http:
        answers = await asyncio.gather(*(complete(http) for _ in range(24)))
    assert all(answer["usage"]["total_tokens"] == 400 for answer in answers)


def main() -> None:
    with provider.running() as api:
        asyncio.run(run(api))
        provider.summary(api)


if __name__ == "__main__":
    main()
