"""Celery tasks that hold a lease while they run. RATEQUEUE_URL names the node.

It runs a worker with four threads in this process, over Celery's in-memory broker, so that nothing else is needed.
"""

from __future__ import annotations

import celery
import httpx
import provider
from celery.contrib.testing.worker import start_worker

import ratequeue
from ratequeue.celery import RateQueueTask

RESOURCE = "example-celery"
app = celery.Celery("example", broker="memory://", backend="cache+memory://")


class Limited(RateQueueTask, celery.Task):  # type: ignore[misc]
    ratequeue_resource = RESOURCE
    ratequeue_load = staticmethod(lambda url, tokens: tokens)
    ratequeue_timeout = 0.5


@app.task(base=Limited)  # type: ignore[untyped-decorator]
def summarise(url: str, tokens: int) -> int:
    answer = httpx.post(f"{url}/v1/chat/completions", json={"model": "m", "max_tokens": tokens})
    ratequeue.current_lease().report_from(answer)
    return answer.status_code


def main() -> None:
    with ratequeue.Client() as client:
        client.resources.put(RESOURCE, {"limits": provider.LIMITS})
    with (
        provider.running() as api,
        start_worker(app, pool="threads", concurrency=4, perform_ping_check=False, loglevel="ERROR"),
    ):
        results = [summarise.delay(api.url, 500) for _ in range(16)]
        assert [result.get(timeout=60) for result in results] == [200] * 16
        provider.summary(api)


if __name__ == "__main__":
    main()
