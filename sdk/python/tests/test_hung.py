"""Nodes that hang: their connections stay open, and they write nothing to them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from typing import Any

import pytest
from cluster import Cluster
from waiting import eventually

import ratequeue
from ratequeue.aio import AsyncClient
from ratequeue.testing import Node

SLOT: ratequeue.ResourceSettings = {
    "limits": {"slots": {"kind": "concurrency", "quota": 1}},
    "queue": {"max_wait_ms": 600_000},
}


class Waiter(threading.Thread):
    """Waits in the queue for one lease."""

    def __init__(self, client: ratequeue.Client, **options: Any) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._options = options
        self.told: list[float] = []
        self.ended = 0.0
        self.outcome: Any = None
        self.start()
        eventually("it is in the queue", lambda: bool(self.told), 30)

    def run(self) -> None:
        def on_wait(position: int, retry_after: float) -> None:
            self.told.append(time.monotonic())

        try:
            with self._client.acquire("r", on_wait=on_wait, **self._options) as lease:
                self.outcome = "degraded" if lease.degraded else "granted"
        except ratequeue.RateQueueError as error:
            self.outcome = error
        self.ended = time.monotonic()


def test_a_hung_leader_costs_nobody_a_place(cluster: Cluster) -> None:
    with ratequeue.Client(cluster.url) as client, ratequeue.Client(cluster.url) as holder:
        client.resources.put("r", SLOT)
        with holder.acquire("r", ttl=60):
            waiter = Waiter(client, timeout=300)
            # The call that is held open is at the leader then.
            time.sleep(1)
            cluster.hang_leader("r")
            # A caller that was silent for 15 s has lost its place 20 s after at the latest.
            waiter.join(22)
            assert waiter.outcome is None
        waiter.join(30)
        assert waiter.outcome == "granted"


def test_a_way_out_is_taken_soon_after_the_node_hung(own_node: Node) -> None:
    with ratequeue.Client(own_node.url) as client:
        client.resources.put("r", SLOT)
        process = own_node.process
        assert process is not None
        with client.acquire("r", ttl=60):
            waiter = Waiter(client, timeout=60, on_unavailable="allow")
            hung = time.monotonic()
            os.kill(process.pid, signal.SIGSTOP)
            waiter.join(30)
            assert waiter.outcome == "degraded"
            assert waiter.ended - hung < 6
            os.kill(process.pid, signal.SIGCONT)


def test_leaving_a_block_waits_for_a_hung_node_for_seconds_only(own_node: Node) -> None:
    process = own_node.process
    assert process is not None
    with ratequeue.Client(own_node.url) as client:

        def released() -> bool:
            return bool(client.stats("r")["held"] == 0)

        client.resources.put("r", SLOT)
        with client.acquire("r", ttl=60):
            os.kill(process.pid, signal.SIGSTOP)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        os.kill(process.pid, signal.SIGCONT)
        eventually("it is released", released, 20)

        async def leave() -> float:
            async with AsyncClient(own_node.url) as other:
                async with other.acquire("r", ttl=60):
                    os.kill(process.pid, signal.SIGSTOP)
                    began = time.monotonic()
                took = time.monotonic() - began
                os.kill(process.pid, signal.SIGCONT)
                await asyncio.to_thread(eventually, "it is released", released, 20)
                return took

        assert asyncio.run(leave()) < 5


def test_what_a_hung_node_grants_to_nobody_is_given_back(own_node: Node) -> None:
    process = own_node.process
    assert process is not None
    with ratequeue.Client(own_node.url, patience=10) as client, ratequeue.Client(own_node.url) as other:
        client.resources.put("r", SLOT)
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(ratequeue.Unavailable) as unavailable, client.acquire("r", timeout=0, ttl=60):
            pass
        assert not unavailable.value.no_effect
        os.kill(process.pid, signal.SIGCONT)
        # The acquire that it was sent before is decided first.
        with other.acquire("r", timeout=10):
            pass


def test_what_a_hung_node_grants_after_all_is_given_back(own_node: Node) -> None:
    process = own_node.process
    assert process is not None
    with ratequeue.Client(own_node.url, on_unavailable="allow") as client:
        client.resources.put("r", SLOT)
        os.kill(process.pid, signal.SIGSTOP)
        with client.acquire("r", ttl=60) as lease:
            assert lease.degraded
            os.kill(process.pid, signal.SIGCONT)
            # By then the node has answered the acquire that it was sent before, and the client has heard of it.
            time.sleep(5)
            assert client.stats("r")["held"] == 0
