"""The asyncio client, against a real node."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

import pytest

import ratequeue
import ratequeue.aio as rq
from ratequeue.testing import Node

Make = Callable[..., str]


def test_a_lease_is_held_in_the_block_and_released_after_it(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=1)

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as client:
            async with client.acquire(name) as lease:
                assert (await client.stats(name))["held"] == 1
                assert lease.fencing_token > 0
                async with client.try_acquire(name) as other:
                    assert other is None
            assert (await client.stats(name))["held"] == 0
            with pytest.raises(ValueError, match="work"):
                async with client.acquire(name):
                    raise ValueError("work")
            assert (await client.stats(name))["held"] == 0

    asyncio.run(run())


def test_cancelling_the_wait_gives_the_place_up(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=1)

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as client, client.acquire(name):
            queued = asyncio.Event()

            async def wait() -> None:
                async def on_wait(position: int, retry_after: float) -> None:
                    queued.set()

                async with client.acquire(name, on_wait=on_wait):
                    raise AssertionError("it is held by somebody else")

            task = asyncio.create_task(wait())
            await asyncio.wait_for(queued.wait(), 30)
            assert (await client.stats(name))["queue_depth"] == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.stats(name))["queue_depth"] == 0

    asyncio.run(run())


def test_cancelling_in_the_block_releases(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=1)

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as client:
            for delay in (0.1, 0.0):
                held = asyncio.Event()

                async def work(held: asyncio.Event = held) -> None:
                    async with client.acquire(name):
                        held.set()
                        await asyncio.sleep(30)

                task = asyncio.create_task(work())
                await held.wait()
                task.cancel()
                # The second time, also in the middle of the release.
                await asyncio.sleep(delay)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert (await client.stats(name))["held"] == 0

    asyncio.run(run())


def test_a_heartbeat_outlives_the_ttl(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=1)

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as client, client.acquire(name, ttl=3) as lease:
            await asyncio.sleep(4.5)
            lease.check()
            assert (await client.stats(name))["held"] == 1

    asyncio.run(run())


def test_a_lost_lease_says_so(own_node: Node) -> None:
    async def run() -> None:
        async with rq.AsyncClient(own_node.url, patience=1.5) as client:
            await client.resources.put("r", {"limits": {"slots": {"kind": "concurrency", "quota": 1}}})
            async with client.acquire("r", ttl=1) as lease:
                own_node.kill()
                await asyncio.wait_for(lease.lost.wait(), 30)
                with pytest.raises(ratequeue.LeaseLost):
                    lease.check()

    asyncio.run(run())


def test_one_client_in_several_loops_leaves_nothing_open(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=5)
    client = rq.AsyncClient(ratequeue_node.url)

    async def run() -> None:
        async def one() -> None:
            async with client.acquire(name):
                await asyncio.sleep(0.01)

        await asyncio.gather(*(one() for _ in range(40)))

    for _ in range(2):
        # Warnings are errors here, those about sockets that were left open too.
        asyncio.run(run())
        gc.collect()


@pytest.mark.filterwarnings("ignore:.*connect_tcp:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*connect_tcp:RuntimeWarning")
def test_a_cancelled_call_leaves_no_connection_that_is_stuck(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=1)

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as client:
            for nth in range(300):
                call = asyncio.create_task(client.stats(name))
                await asyncio.sleep(nth % 40 / 10_000)
                call.cancel()
                await asyncio.wait({call})
                await asyncio.wait_for(client.stats(name), 10)

    asyncio.run(run())


# anyio leaves a coroutine behind when a task is cancelled in the very step in which it began to connect.
@pytest.mark.filterwarnings("ignore:.*connect_tcp:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*connect_tcp:RuntimeWarning")
def test_a_failure_beside_many_that_wait_leaves_nothing_open(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=1)

    async def run(waiting: int) -> None:
        queued = 0
        all_queued = asyncio.Event()

        def on_wait(position: int, retry_after: float) -> None:
            nonlocal queued
            queued += 1
            if queued == waiting:
                all_queued.set()

        async def wait() -> None:
            async with client.acquire(name, on_wait=on_wait, timeout=60):
                pass

        async def fail() -> None:
            await all_queued.wait()
            raise ValueError("work")

        async with rq.AsyncClient(ratequeue_node.url) as client, client.acquire(name):
            await asyncio.gather(fail(), *(wait() for _ in range(waiting)))

    # Warnings are errors here: of sockets that were left open, and of coroutines that nobody awaited.
    with pytest.raises(ValueError, match="work"):
        asyncio.run(run(100))
    gc.collect()
    with ratequeue.Client(ratequeue_node.url) as client:
        stats = client.stats(name)
    assert (stats["held"], stats["queue_depth"]) == (0, 0)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_loops_that_were_closed_are_forgotten(ratequeue_node: Node, make: Make) -> None:
    name = make()
    client = rq.AsyncClient(ratequeue_node.url)

    async def run() -> None:
        async with client.acquire(name):
            pass

    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(run())
        assert len(client._runners._runners) == 1
        # Without shutting down its asynchronous generators, unlike asyncio.run.
        loop.close()
    client._runners._runners.clear()
    del loop
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def test_one_client_in_the_loops_of_several_threads(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=3)
    client = rq.AsyncClient(ratequeue_node.url)

    async def run() -> list[int]:
        async def one() -> int:
            async with client.acquire(name, timeout=60) as lease:
                await asyncio.sleep(0.01)
                return lease.fencing_token

        return list(await asyncio.gather(*(one() for _ in range(10))))

    with ThreadPoolExecutor(4) as threads:
        tokens = [
            token for thread in [threads.submit(asyncio.run, run()) for _ in range(4)] for token in thread.result()
        ]
    assert len(set(tokens)) == 40


def test_a_fork_in_a_running_loop_has_connections_of_its_own(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=2)
    client = rq.AsyncClient(ratequeue_node.url)

    async def token() -> int:
        async with client.acquire(name, timeout=30) as lease:
            return lease.fencing_token

    async def run() -> None:
        async with client.acquire(name) as lease:
            child = os.fork()
            if child == 0:
                # Whatever happens in the child, it must not go on as this test.
                signal.alarm(60)
                higher = False
                try:
                    higher = asyncio.run(token()) > lease.fencing_token
                finally:
                    os._exit(0 if higher else 1)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            assert status == 0
            assert (await client.stats(name))["held"] == 1
            lease.check()

    asyncio.run(run())


def test_limited_and_the_shared_client(ratequeue_node: Node, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATEQUEUE_URL", ratequeue_node.url)
    name = make(limits={"tpm": {"kind": "rate", "quota": 10_000, "window_ms": 60_000}})

    @rq.limited(name, load=lambda text: len(text), timeout=30)
    async def work(text: str) -> Any:
        return rq.current_lease().charged

    async def run() -> None:
        assert list(await asyncio.gather(work("ab"), work("abc"))) == [{"tpm": 2}, {"tpm": 3}]

    asyncio.run(run())
    with pytest.raises(ratequeue.ConfigurationError, match="use limited from ratequeue"):
        rq.limited(name)(lambda: None)  # type: ignore[type-var]


def test_admin(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=3)

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as client:
            assert (await client.resources.get(name))["limits"]["slots"]["quota"] == 3
            await client.resources.patch(name, {"limits": {"slots": {"quota": 5}}})
            assert name in [resource["name"] async for resource in client.resources.list()]
            await client.resources.delete(name)
            with pytest.raises(ratequeue.NotFound):
                await client.resources.get(name)

    asyncio.run(run())


def test_an_acquire_is_for_one_block(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=5)

    async def run() -> None:
        async with rq.AsyncClient(ratequeue_node.url) as client:
            asked = client.acquire(name)
            async with asked:
                with pytest.raises(ratequeue.ConfigurationError, match="each block"):
                    await asked.__aenter__()
            at_once = client.acquire(name)
            entered = await asyncio.gather(*(at_once.__aenter__() for _ in range(3)), return_exceptions=True)
            assert [isinstance(lease, ratequeue.ConfigurationError) for lease in entered] == [False, True, True]
            await at_once.__aexit__(None, None, None)
            assert (await client.stats(name))["held"] == 0

    asyncio.run(run())
