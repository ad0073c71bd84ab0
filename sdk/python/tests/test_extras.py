"""Adapters for other libraries, against a real node: how long they hold a lease, and what a failure leaves behind."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator
from typing import Any, Callable

import celery
import httpx
import provider
import pytest
import requests
from celery.contrib.testing.worker import start_worker
from cluster import nowhere
from waiting import eventually

import ratequeue
from ratequeue.aio import AsyncClient
from ratequeue.celery import RateQueueTask
from ratequeue.httpx_transport import AsyncRateQueueTransport, RateQueueTransport
from ratequeue.langchain import RateQueueRateLimiter
from ratequeue.requests_adapter import RateQueueAdapter

Make = Callable[..., str]
PATH = "/v1/chat/completions"
CALL = {"model": "m", "max_tokens": 100}


@pytest.fixture
def api() -> Iterator[provider.Provider]:
    with provider.running() as api:
        yield api


@pytest.fixture
def logging_kept() -> Iterator[None]:
    """Restores logging: a worker of Celery takes it over for good."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def held(client: ratequeue.Client, name: str) -> Any:
    return client.stats(name)["held"]


def test_httpx(client: ratequeue.Client, make: Make, api: provider.Provider) -> None:
    name = make(slots=1)
    loads: list[str] = []

    def load(request: httpx.Request) -> int:
        loads.append(request.url.path)
        return 1

    with httpx.Client(transport=RateQueueTransport(name, load, client=client, timeout=0)) as http:
        with http.stream("POST", api.url + PATH, json=CALL) as response:
            assert held(client, name) == 1
            with pytest.raises(ratequeue.Rejected):
                http.post(api.url + PATH, json=CALL)
            assert response.read()
        assert held(client, name) == 0
        with pytest.raises(httpx.ConnectError):
            http.post(nowhere(0) + PATH, json=CALL)
        assert held(client, name) == 0
    assert loads == [PATH] * 3


def test_httpx_with_asyncio(client: ratequeue.Client, make: Make, api: provider.Provider, ratequeue_node: Any) -> None:
    name = make(slots=1)

    async def run() -> None:
        async with AsyncClient(ratequeue_node.url) as own:
            transport = AsyncRateQueueTransport(name, client=own, timeout=0)
            async with httpx.AsyncClient(transport=transport) as http:
                async with http.stream("POST", api.url + PATH, json=CALL) as response:
                    assert held(client, name) == 1
                    with pytest.raises(ratequeue.Rejected):
                        await http.post(api.url + PATH, json=CALL)
                    assert await response.aread()
                assert held(client, name) == 0
                with pytest.raises(httpx.ConnectError):
                    await http.post(nowhere(0) + PATH, json=CALL)
                assert held(client, name) == 0

    asyncio.run(run())


def test_requests(client: ratequeue.Client, make: Make, api: provider.Provider) -> None:
    name = make(slots=1)
    with requests.Session() as session:
        session.mount("http://", RateQueueAdapter(name, client=client, timeout=0))
        assert session.post(api.url + PATH, json=CALL).status_code == 200
        assert held(client, name) == 0
        with session.post(api.url + PATH, json=CALL, stream=True) as response:
            assert held(client, name) == 1
            with pytest.raises(ratequeue.Rejected):
                session.post(api.url + PATH, json=CALL)
            assert response.content
        assert held(client, name) == 0
        with pytest.raises(requests.ConnectionError):
            session.post(nowhere(0) + PATH, json=CALL)
        assert held(client, name) == 0


def read_all(response: requests.Response) -> None:
    assert response.content


def read_lines(response: requests.Response) -> None:
    assert list(response.iter_lines())


def read_raw(response: requests.Response) -> None:
    while response.raw.read(7):
        pass


@pytest.mark.parametrize("read", [read_all, read_lines, read_raw, requests.Response.close])
def test_requests_releases_at_the_end_of_a_body_that_is_streamed(
    client: ratequeue.Client, make: Make, api: provider.Provider, read: Callable[[requests.Response], None]
) -> None:
    name = make(slots=1)
    with requests.Session() as session:
        session.mount("http://", RateQueueAdapter(name, client=client, timeout=0))
        for _ in range(2):
            response = session.post(api.url + PATH, json=CALL, stream=True)
            assert held(client, name) == 1
            read(response)
            assert held(client, name) == 0


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_streamed_response_that_is_dropped_releases(
    client: ratequeue.Client, make: Make, api: provider.Provider, ratequeue_node: Any
) -> None:
    name = make(slots=1)

    def dropped(what: str) -> None:
        gc.collect()
        eventually(f"{what} is released", lambda: held(client, name) == 0)

    with requests.Session() as session:
        session.mount("http://", RateQueueAdapter(name, client=client, ttl=60))
        response = session.post(api.url + PATH, json=CALL, stream=True)
        assert held(client, name) == 1
        with pytest.warns(ResourceWarning, match="was dropped"):
            del response
    dropped("requests")
    with httpx.Client(transport=RateQueueTransport(name, client=client, ttl=60)) as http:
        stream = http.send(http.build_request("POST", api.url + PATH, json=CALL), stream=True)
        assert held(client, name) == 1
        del stream
        with pytest.warns(ResourceWarning, match="was dropped"):
            gc.collect()
        dropped("httpx")

    async def run() -> None:
        async with AsyncClient(ratequeue_node.url) as own:
            transport = AsyncRateQueueTransport(name, client=own, ttl=60)
            async with httpx.AsyncClient(transport=transport) as http:
                request = http.build_request("POST", api.url + PATH, json=CALL)
                await http.send(request, stream=True)
                with pytest.warns(ResourceWarning, match="was dropped"):
                    gc.collect()
                await asyncio.to_thread(dropped, "httpx with asyncio")

    asyncio.run(run())


def test_httpx_releases_at_the_end_of_a_body_that_is_not_closed(
    client: ratequeue.Client, make: Make, api: provider.Provider
) -> None:
    name = make(slots=1)
    with httpx.Client(transport=RateQueueTransport(name, client=client, ttl=60)) as http:
        response = http.send(http.build_request("POST", api.url + PATH, json=CALL), stream=True)
        assert isinstance(response.stream, httpx.SyncByteStream)
        assert b"".join(response.stream)
        assert held(client, name) == 0
        response.close()


def test_langchain(client: ratequeue.Client, make: Make, ratequeue_node: Any) -> None:
    name = make(limits={"rpm": {"kind": "rate", "quota": 2, "window_ms": 60_000}})

    async def run() -> list[bool]:
        async with AsyncClient(ratequeue_node.url) as own:
            limiter = RateQueueRateLimiter(name, client=client, async_client=own, timeout=0.1, on_wait=print)
            granted = [limiter.acquire(), await limiter.aacquire(blocking=False)]
            with pytest.raises(ratequeue.WaitTimeout):
                await limiter.aacquire()
            return [*granted, limiter.acquire(blocking=False), await limiter.aacquire(blocking=False)]

    assert asyncio.run(run()) == [True, True, False, False]


def test_celery(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    app = celery.Celery("test", broker="memory://", backend="cache+memory://")
    ran: list[tuple[int, Any]] = []

    class Limited(RateQueueTask, celery.Task):  # type: ignore[misc]
        ratequeue_resource = name
        ratequeue_timeout = 0
        ratequeue_retries_max = 2
        ratequeue_client = client

    @app.task(base=Limited, bind=True)  # type: ignore[untyped-decorator]
    def work(task: Any, text: str) -> str:
        assert ratequeue.current_lease().resource == name
        ran.append((task.request.retries, held(client, name)))
        if text == "bad":
            raise ValueError(text)
        return text.upper()

    assert work.apply(args=("good",)).get() == "GOOD"
    with pytest.raises(ValueError, match="bad"):
        work.apply(args=("bad",)).get()
    assert held(client, name) == 0
    with client.acquire(name), pytest.raises(ratequeue.Rejected):
        # It is tried again, and fails with what was in the way at last.
        work.apply(args=("late",)).get()
    assert ran == [(0, 1), (0, 1)]


@pytest.mark.usefixtures("logging_kept")
def test_celery_waits_as_often_as_it_takes(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    app = celery.Celery("test", broker="memory://", backend="cache+memory://")
    tries: list[str] = []
    ran: list[int] = []
    holders: list[ratequeue.Lease] = []

    def load(text: str) -> int:
        tries.append(text)
        if len(tries) == 6:
            holders.pop().release()
        return 1

    class Limited(RateQueueTask, celery.Task):  # type: ignore[misc]
        ratequeue_resource = name
        ratequeue_load = staticmethod(load)
        ratequeue_timeout = 0
        ratequeue_client = client

    @app.task(base=Limited, bind=True, name="waits", max_retries=1, default_retry_delay=0)  # type: ignore[untyped-decorator]
    def work(task: Any, text: str) -> str:
        ran.append(task.request.retries)
        if len(ran) < 2:
            raise task.retry()
        return text.upper()

    with start_worker(app, pool="threads", concurrency=1, perform_ping_check=False, loglevel="ERROR"):
        holders.append(client.acquire(name).open())
        assert work.delay("late").get(timeout=60) == "LATE"
    assert len(tries) == 7
    assert ran == [0, 1]


def test_each_call_has_a_key_of_its_own(client: ratequeue.Client) -> None:
    for make in (
        lambda **options: client.limited("r", **options),
        lambda **options: ratequeue.limited("r", **options),
        lambda **options: ratequeue.aio.limited("r", **options),
        lambda **options: RateQueueTransport("r", **options),
        lambda **options: AsyncRateQueueTransport("r", **options),
        lambda **options: RateQueueAdapter("r", **options),
        lambda **options: RateQueueRateLimiter("r", **options),
    ):
        with pytest.raises(ratequeue.ConfigurationError, match="leave the key out"):
            make(idempotency_key="one")
