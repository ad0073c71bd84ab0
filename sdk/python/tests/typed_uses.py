"""Typical uses, and wrong ones, for the type checkers: a line that ends with ``# wrong`` must be an error, and no other may be one.

``test_types.py`` has mypy and pyright check this file, both at their strictest. Nothing here is ever run.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Optional

import httpx

import ratequeue
import ratequeue.aio as rq
from ratequeue.httpx_transport import AsyncRateQueueTransport, RateQueueTransport
from ratequeue.langchain import RateQueueRateLimiter
from ratequeue.requests_adapter import RateQueueAdapter


def acquires(client: ratequeue.Client, response: object) -> None:
    with ratequeue.acquire("r") as lease:
        token: int = lease.fencing_token
        charged: Mapping[str, int] = lease.charged
        lost: threading.Event = lease.lost
        lease.report({"input": 5, "output": 3})
        used: Optional[ratequeue.Load] = lease.report_from(response)
        print(token, charged, lost.wait(1), used, lease.expires_in + lease.waited)
    with ratequeue.acquire("r", {"input": 5}, timeout=30, ttl=2.5, priority=0, metadata={"job": "1"}) as lease:
        lease.check()
    with ratequeue.acquire("r", on_unavailable="allow", on_wait=lambda position, after: print(position + 1, after)):
        pass
    with ratequeue.acquire("r", on_unavailable=ratequeue.local(0.25), patience=3, base_url=["a", "b"], api_key="k"):
        pass
    with client.acquire(
        "r", on_unavailable=ratequeue.local(Fraction(1, 3), {"a": {"kind": "concurrency", "quota": 3}})
    ):
        pass
    with ratequeue.try_acquire("r", 5, patience=0.5) as maybe:
        if maybe is not None:
            maybe.report(1)
    asked: ratequeue.Acquire[ratequeue.Lease] = client.acquire("r")
    held: ratequeue.Lease = asked.open()
    held.extend()
    held.extend(ttl=30)
    held.release()
    none: Optional[ratequeue.Lease] = client.try_acquire("r").open()
    print(none, held.released, held.degraded, held.id.upper(), ratequeue.__version__.split("."))


def weight(text: str) -> int:
    return len(text)


@ratequeue.limited("r", load=weight, timeout=5, on_unavailable="deny")
def shout(text: str) -> str:
    ratequeue.current_lease().report(3)
    return text.upper()


def decorated(client: ratequeue.Client) -> None:
    shouted: str = shout("a")
    limited = client.limited("r", 3, ttl=5, metadata={"a": "b"})(len)
    number: int = limited("abc")
    print(shouted, number)
    ratequeue.exit_on_signals()


def resources(client: ratequeue.Client) -> None:
    queue: ratequeue.QueueSettings = {"max_waiting": 5, "claim_ms": 0}
    resource: ratequeue.ResourceSettings = {
        "limits": {
            "tpm": {"kind": "rate", "quota": 90_000, "window_ms": 60_000, "algorithm": "token_bucket", "burst": 10},
            "slots": {"kind": "concurrency", "quota": 20},
        },
        "queue": queue,
        "lease": {"default_ttl_ms": 1000},
    }
    client.resources.put("r", resource, create_only=True)
    version: Any = client.resources.get("r")["version"]
    client.resources.patch("r", {"limits": {"slots": {"quota": 5}, "tpm": None}}, if_version=version)
    names = [str(view["name"]) for view in client.resources.list()]
    held = [view["id"] for view in client.leases("r", "held")]
    print(names, held, client.stats("r")["queue_depth"])
    client.resources.delete("r")


def errors() -> None:
    try:
        shout("a")
    except ratequeue.Rejected as error:
        print((error.retry_after or 0) + 1, error.violated[0], error.code)
    except TimeoutError as late:
        print(late)
    except (ratequeue.NotFound, ratequeue.Conflict, ratequeue.ConfigurationError) as wrong:
        print(wrong.status, wrong.request_id)
    except ratequeue.Unavailable as unavailable:
        print(unavailable.no_effect)
    except ratequeue.LeaseLost as over:
        print(over.state)


@rq.limited("r", load=2, timeout=30)
async def fetch(url: str) -> bytes:
    return url.encode()


async def asynchronous() -> None:
    async with rq.acquire("r", timeout=5) as lease:
        lost: asyncio.Event = lease.lost
        lease.report(1)
    async with rq.AsyncClient("a", patience=3, on_unavailable="allow") as client:
        async with client.try_acquire("r") as maybe:
            print(maybe is None or maybe.id)
        held: rq.Lease = await client.acquire("r").open()
        await held.extend(5)
        await held.release()
        views = [view async for view in client.leases("r")]
        everything = [view async for view in client.resources.list()]
    fetched: bytes = await fetch("a")
    print(lost, views, everything, fetched)


def adapters(client: ratequeue.Client, own: rq.AsyncClient) -> None:
    http = httpx.Client(
        transport=RateQueueTransport("r", lambda request: len(request.content), client=client, timeout=3)
    )
    other = httpx.AsyncClient(transport=AsyncRateQueueTransport("r", 3, client=own, ttl=3))
    print(http, other, RateQueueAdapter("r", timeout=0), RateQueueRateLimiter("r", load=5, timeout=1))


def mistakes(client: ratequeue.Client, own: rq.AsyncClient) -> None:
    ratequeue.acquire("r", load="5")  # wrong
    ratequeue.acquire("r", laod=5)  # wrong
    ratequeue.acquire("r", on_unavailable="alow")  # wrong
    ratequeue.acquire("r", timeout="5s")  # wrong
    ratequeue.acquire("r", metadata={"job": 5})  # wrong
    ratequeue.acquire("r", on_wait=lambda position: None)  # wrong
    ratequeue.acquire(5)  # wrong
    client.acquire("r", base_url="http://a")  # wrong
    client.acquire("r").open().fencing_token = 5  # wrong
    client.try_acquire("r").open().report(5)  # wrong
    client.acquire("r").open().report(1.5)  # wrong
    client.acquire("r").open().relase()  # wrong
    ratequeue.limited("r", laod=5)  # wrong
    ratequeue.limited("r", on_unavailable="alow")  # wrong
    ratequeue.limited("r", idempotency_key="k")  # wrong
    rq.limited("r", priority="first")  # wrong
    rq.limited("r")(len)  # wrong
    client.resources.put("r", {"limits": {"a": {"kind": "rate", "quota": 5, "window": 60}}})  # wrong
    client.resources.put("r", {"limits": {"a": {"kind": "bucket", "quota": 5}}})  # wrong
    client.resources.put("r", {"limit": {}})  # wrong
    client.resources.patch("r", {"queue": {"max_wait": 5}})  # wrong
    client.leases("r", "holding")  # wrong
    ratequeue.local("half")  # wrong
    ratequeue.Client("a", on_unavailable="ignore")  # wrong
    ratequeue.Client("a", timeout=5)  # wrong
    RateQueueTransport("r", client=own)  # wrong
    RateQueueAdapter("r", tiemout=5)  # wrong
    shout(5).upper().nothing()  # wrong


async def mistakes_with_asyncio(client: rq.AsyncClient) -> None:
    with client.acquire("r"):  # wrong
        pass
    lease = await client.acquire("r").open()
    print(lease.release().nothing)  # wrong
    number: int = await fetch("a")  # wrong
    print(number)
