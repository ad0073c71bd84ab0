"""Every request of a requests session holds a lease. RATEQUEUE_URL names the node."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import provider
import requests

import ratequeue
from ratequeue.requests_adapter import RateQueueAdapter

RESOURCE = "example-requests"
CALL = {"model": "m", "max_tokens": 500, "messages": []}


def main() -> None:
    with ratequeue.Client() as client:
        client.resources.put(RESOURCE, {"limits": provider.LIMITS})
    with provider.running() as api, requests.Session() as session, ThreadPoolExecutor(8) as threads:
        session.mount(api.url, RateQueueAdapter(RESOURCE, load=500))
        calls = [threads.submit(session.post, f"{api.url}/v1/chat/completions", json=CALL) for _ in range(16)]
        assert all(call.result().status_code == 200 for call in calls)
        with session.post(f"{api.url}/v1/chat/completions", json=CALL, stream=True) as response:
            assert b"usage" in b"".join(response.iter_content(64))
        provider.summary(api)


if __name__ == "__main__":
    main()
