"""A lease with and without a block, after its end, dropped, and as the current one; for threads and asyncio, on a real node."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest
from waiting import eventually

import ratequeue
import ratequeue.aio as rq
from ratequeue.testing import Node

Make = Callable[..., str]
TTL = 60
"""A time to live that no test waits for: what is free earlier was released."""


def is_free(client: ratequeue.Client, name: str) -> Callable[[], bool]:
    return lambda: client.stats(name)["held"] == 0


def says_that_it_was_released(lease: Any) -> None:
    for use in (lease.check, lambda: lease.fencing_token, lambda: lease.report(1), lambda: lease.report_from({})):
        with pytest.raises(ratequeue.LeaseLost, match="was released") as lost:
            use()
        assert lost.value.state == "released"
    assert lease.released
    assert lease.expires_in == 0
    assert repr(lease).endswith("released>")
    assert not lease.lost.is_set()


def test_a_lease_without_a_block(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    lease = client.acquire(name, ttl=3).open()
    assert client.stats(name)["held"] == 1
    assert not lease.released
    time.sleep(4)
    lease.check()
    lease.extend(30)
    assert 20 < lease.expires_in < 30
    lease.release()
    assert client.stats(name)["held"] == 0
    lease.release()
    says_that_it_was_released(lease)
    with pytest.raises(ratequeue.LeaseLost, match="was released"):
        lease.extend()
    with client.acquire(name):
        assert client.try_acquire(name).open() is None
    asked = client.acquire(name)
    with asked as lease:
        # Earlier than its block.
        lease.release()
        assert client.stats(name)["held"] == 0
    with pytest.raises(ratequeue.ConfigurationError, match="each open"):
        asked.open()


def test_an_extension_holds_at_the_server(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    lease = client.acquire(name, ttl=5).open()
    lease.extend(TTL)
    (held,) = client.leases(name)
    assert held["expires_in_ms"] > 40_000
    lease.extend(2)
    time.sleep(3)
    # By the new time to live, and again and again.
    lease.check()
    (held,) = client.leases(name)
    assert 0 < held["expires_in_ms"] <= 2000
    with pytest.raises(ratequeue.ConfigurationError, match="ttl"):
        lease.extend(0)
    lease.release()


def test_after_its_block_a_lease_says_so(client: ratequeue.Client, make: Make) -> None:
    with client.acquire(make()) as lease:
        pass
    says_that_it_was_released(lease)


def test_the_same_with_asyncio(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=1)

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as client:
            lease = await client.acquire(name, ttl=3).open()
            await asyncio.sleep(4)
            lease.check()
            await lease.extend(30)
            assert 20 < lease.expires_in < 30
            (held,) = [view async for view in client.leases(name, "held")]
            assert held["id"] == lease.id
            assert await client.try_acquire(name).open() is None
            await lease.release()
            await lease.release()
            assert (await client.stats(name))["held"] == 0
            says_that_it_was_released(lease)
            async with client.acquire(name) as lease:
                pass
            says_that_it_was_released(lease)

    asyncio.run(run())


def test_a_report_after_the_end_of_a_limited_function_is_refused(ratequeue_node: Node, make: Make) -> None:
    name = make()

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as client:
            over = asyncio.Event()

            async def late() -> None:
                lease = rq.current_lease()
                await over.wait()
                lease.report(3)

            @client.limited(name)
            async def work() -> asyncio.Task[None]:
                task = asyncio.create_task(late())
                await asyncio.sleep(0)
                return task

            task = await work()
            over.set()
            with pytest.raises(ratequeue.LeaseLost, match="was released"):
                await task

    asyncio.run(run())


def test_a_dropped_lease_is_released(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    takes: list[Callable[[], object]] = [
        lambda: client.acquire(name, ttl=TTL).__enter__(),
        lambda: client.acquire(name, ttl=TTL).open(),
    ]
    for take in takes:
        lease = take()
        assert client.stats(name)["held"] == 1
        with pytest.warns(ResourceWarning, match=f"of {name} was dropped"):
            del lease
        eventually("it is released", is_free(client, name))


def test_a_block_that_runs_keeps_its_lease(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    with client.acquire(name, ttl=2):
        for _ in range(3):
            gc.collect()
            time.sleep(1)
        assert client.stats(name)["held"] == 1


def test_a_heartbeat_keeps_nothing_alive(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    with pytest.warns(ResourceWarning):
        client.acquire(name, ttl=1).open()
    eventually("it is released", is_free(client, name))
    # The timers of a lease that was given up do not beat on.
    assert not client._runners.current().owed


def test_a_lease_that_is_dropped_in_the_middle_of_anything(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=8)
    runner = client._runners.current()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        # With the locks that the end of a lease takes held by this very thread.
        for _ in range(4):
            lease = client.acquire(name, ttl=TTL).open()
            with runner._lock, runner._timers._lock:
                del lease
                gc.collect()
    eventually("they are released", is_free(client, name))


def test_a_dropped_lease_is_released_with_asyncio(ratequeue_node: Node, client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as own:
            with pytest.warns(ResourceWarning, match="was dropped"):
                await own.acquire(name, ttl=TTL).__aenter__()
            await asyncio.to_thread(eventually, "it is released", is_free(client, name))

    asyncio.run(run())


def test_what_is_held_when_a_loop_ends_is_released(ratequeue_node: Node, client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    own = rq.AsyncClient(ratequeue_node.url)

    async def run() -> rq.Lease:
        return await own.acquire(name, ttl=TTL).open()

    lease = asyncio.run(run())
    assert client.stats(name)["held"] == 0
    assert lease.released


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_lease_that_is_dropped_after_its_loop_is_released(
    ratequeue_node: Node, client: ratequeue.Client, make: Make
) -> None:
    name = make(slots=1)
    own = rq.AsyncClient(ratequeue_node.url)
    # Closed without shutting down its asynchronous generators, unlike by asyncio.run.
    loop = asyncio.new_event_loop()
    lease = loop.run_until_complete(own.acquire(name, ttl=TTL).open())
    loop.close()
    assert client.stats(name)["held"] == 1
    del lease, loop
    eventually("it is released", is_free(client, name))
    del own
    gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_lease_that_is_dropped_after_its_client_is_released(
    ratequeue_node: Node, client: ratequeue.Client, make: Make
) -> None:
    name = make(slots=1)

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as own:
            lease = await own.acquire(name, ttl=TTL).open()
        # The loop ends at once.
        del lease

    asyncio.run(run())
    eventually("it is released", is_free(client, name))


def test_a_release_in_the_background_outlives_asyncio_run(own_node: Node) -> None:
    process = own_node.process
    assert process is not None

    async def run() -> None:
        async with rq.AsyncClient(own_node.url).acquire("r", ttl=TTL):
            os.kill(process.pid, signal.SIGSTOP)
        # Leaving took 3 s; the rest is done in the background, and the loop ends now.
        os.kill(process.pid, signal.SIGCONT)

    with ratequeue.Client(own_node.url) as client:
        client.resources.put("r", {"limits": {"slots": {"kind": "concurrency", "quota": 1}}})
        asyncio.run(run())
        assert client.stats("r")["held"] == 0


def test_a_release_in_the_background_outlives_the_client(own_node: Node) -> None:
    process = own_node.process
    assert process is not None
    with ratequeue.Client(own_node.url) as client:
        client.resources.put("r", {"limits": {"slots": {"kind": "concurrency", "quota": 1}}})
        with ratequeue.Client(own_node.url) as own:
            with own.acquire("r", ttl=TTL):
                os.kill(process.pid, signal.SIGSTOP)
            os.kill(process.pid, signal.SIGCONT)
        assert not own._runners.current()._threads
        assert client.stats("r")["held"] == 0


def test_a_lost_lease_is_said_once(own_node: Node, caplog: pytest.LogCaptureFixture) -> None:
    with ratequeue.Client(own_node.url, patience=1) as client:
        client.resources.put("r", {"limits": {"slots": {"kind": "concurrency", "quota": 1}}})
        process = own_node.process
        assert process is not None
        with client.acquire("r", ttl=1) as lease:
            os.kill(process.pid, signal.SIGSTOP)
            assert lease.lost.wait(30)
            os.kill(process.pid, signal.SIGCONT)
            eventually("the server has ended it", is_free(client, "r"))
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == 1
    assert "is lost" in warned[0]


def test_the_current_lease(client: ratequeue.Client, make: Make) -> None:
    outer, inner = make(), make()
    with client.acquire(outer) as first:
        assert ratequeue.current_lease() is first
        with client.acquire(inner) as second:
            assert ratequeue.current_lease() is second
        assert ratequeue.current_lease() is first
        with client.try_acquire(outer) as none:
            assert none is None
            assert ratequeue.current_lease() is first
        with ThreadPoolExecutor(1) as threads:
            with pytest.raises(ratequeue.ConfigurationError, match="copy_context"):
                threads.submit(ratequeue.current_lease).result()
            copied = contextvars.copy_context()
            assert threads.submit(copied.run, ratequeue.current_lease).result() is first
    with pytest.raises(ratequeue.ConfigurationError, match="no current lease"):
        ratequeue.current_lease()


def test_the_current_lease_of_each_task(ratequeue_node: Node, make: Make) -> None:
    names = [make() for _ in range(3)]

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as client:

            async def one(name: str) -> None:
                async with client.acquire(name) as lease:
                    await asyncio.sleep(0.05)
                    assert rq.current_lease() is lease
                    assert await asyncio.to_thread(rq.current_lease) is lease

            await asyncio.gather(*map(one, names))

    asyncio.run(run())


def test_who_holds_and_who_waits_is_listed(client: ratequeue.Client, make: Make) -> None:
    name = make(slots=1)
    queued = threading.Event()

    def wait() -> None:
        def on_wait(position: int, retry_after: float) -> None:
            queued.set()

        with client.acquire(name, metadata={"who": "second"}, on_wait=on_wait):
            pass

    with client.acquire(name, metadata={"who": "first"}) as lease:
        thread = threading.Thread(target=wait)
        thread.start()
        assert queued.wait(30)
        views = list(client.leases(name))
        assert [(view["state"], view["metadata"]["who"]) for view in views] == [
            ("held", "first"),
            ("waiting", "second"),
        ]
        assert views[0]["id"] == lease.id
        assert [view["state"] for view in client.leases(name, "waiting")] == ["waiting"]
    thread.join(30)
    assert list(client.leases(name)) == []
    with pytest.raises(ratequeue.ConfigurationError, match="'held' or 'waiting'"):
        list(client.leases(name, "gone"))  # type: ignore[arg-type]
    with pytest.raises(ratequeue.NotFound):
        list(client.leases("no-such"))


@pytest.fixture
def hung_node(own_node: Node) -> Iterator[Node]:
    assert own_node.process is not None
    os.kill(own_node.process.pid, signal.SIGSTOP)
    yield own_node
    os.kill(own_node.process.pid, signal.SIGCONT)


def test_who_does_not_wait_does_not_wait_for_a_dead_node(hung_node: Node) -> None:
    with ratequeue.Client(hung_node.url) as client:
        for acquire in (client.try_acquire("r"), client.acquire("r", patience=1)):
            began = time.monotonic()
            with pytest.raises(ratequeue.Unavailable), acquire:
                pass
            # A second, and what a busy machine adds; twenty without patience of its own.
            assert time.monotonic() - began < 3


def test_a_wait_that_is_over_is_a_timeout_for_everybody(client: ratequeue.Client, make: Make) -> None:
    name = make()
    with client.acquire(name), pytest.raises(TimeoutError) as late, client.acquire(name, timeout=0.1):
        pass
    assert isinstance(late.value, ratequeue.WaitTimeout)
    assert "longer timeout" in str(late.value)


def test_nothing_is_logged_by_default(client: ratequeue.Client, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with client.acquire(make(), ttl=1):
        time.sleep(1.5)
    assert caplog.records == []


def test_trio_is_told_what_to_do() -> None:
    trio = pytest.importorskip("trio")

    async def work() -> None:
        async with rq.AsyncClient().acquire("r"):
            pass

    with pytest.raises(ratequeue.ConfigurationError, match=r"trio\.to_thread\.run_sync"):
        trio.run(work)
    with pytest.raises(ratequeue.ConfigurationError, match="asyncio loop"):
        work().send(None)
