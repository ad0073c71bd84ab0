"""A thousand tasks share one resource through three nodes, while the leader is killed twice.

What the limiter promises counts from grant to grant. The provider counts from call to call, and a call can be late: who is granted
while the leader is killed hears of it from the next leader, seconds later. So the work is such that no late call can matter:

- Small tasks come first, and leave room for one large task. The other large tasks, last in the queue, wait until a minute has gone
  by since the first hundred grants or so. The leader is killed after those.
- A large call takes PREPARE seconds to put together, after it was granted. Only if the first calls of all were later than that
  would the provider count them into the same minute.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Optional

from cluster import Cluster

import ratequeue
from ratequeue import _wire
from ratequeue.aio import AsyncClient, Lease

TASKS = 1000
SLOTS = 50
UNITS = 100_000
WINDOW = 60.0
TTL = 30.0
SMALL = 100
LARGE = 1000
LARGE_TASKS = 10
PREPARE = 5.0
KILL_AFTER = (300, 600)
"""Calls after which the leader is killed."""
RESOURCE: ratequeue.ResourceSettings = {
    "limits": {
        "slots": {"kind": "concurrency", "quota": SLOTS},
        "tpm": {"kind": "rate", "quota": UNITS, "window_ms": int(WINDOW * 1000)},
    },
    "queue": {"max_waiting": 10_000, "max_wait_ms": 600_000},
}


@dataclass
class Provider:
    """The API that the tasks call. It has the limits of the resource, and refuses calls that exceed them."""

    at_once: int = 0
    most_at_once: int = 0
    refused: int = 0
    calls: deque[tuple[float, int]] = field(default_factory=deque)
    """Calls of the last minute."""
    seen: list[tuple[float, int]] = field(default_factory=list)
    grants: list[tuple[float, int]] = field(default_factory=list)
    latest: float = 0.0
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self, calls: int) -> None:
        while len(self.grants) < calls:
            self.grown.clear()
            await self.grown.wait()

    async def call(self, units: int, granted: float) -> None:
        now = time.monotonic()
        while self.calls and self.calls[0][0] <= now - WINDOW:
            self.calls.popleft()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.at_once > SLOTS or sum(amount for _, amount in self.calls) + units > UNITS:
            self.refused += 1
        self.calls.append((now, units))
        self.seen.append((now, units))
        self.grants.append((granted, units))
        self.grown.set()
        self.latest = max(self.latest, now - granted - preparation(units))
        await asyncio.sleep(random.uniform(0.5, 1.1))
        self.at_once -= 1


@dataclass
class Record:
    """One task, by the clock of this process."""

    priority: int
    called: float
    queued_at: Optional[float] = None
    """Time of the first report of its place in the queue."""
    token: int = 0


async def work(client: AsyncClient, provider: Provider, priority: int, units: int) -> Record:
    record = Record(priority, time.monotonic())

    def on_wait(position: int, retry_after: float) -> None:
        record.queued_at = record.queued_at or time.monotonic()

    async with client.acquire("shared", load=units, priority=priority, ttl=TTL, timeout=300, on_wait=on_wait) as lease:
        record.token = lease.fencing_token
        await asyncio.sleep(preparation(units))
        await provider.call(units, granted_at(lease))
        lease.report(units)
        lease.check()
    return record


def granted_at(lease: Lease) -> float:
    """Returns the time of the grant by the clock of this process: the server sent how much of its time was left."""
    return time.monotonic() - (TTL - lease._state.grant.view.expires_in)


def preparation(units: int) -> float:
    """Returns the seconds that it takes to put a call together."""
    return PREPARE if units == LARGE else 0.0


def in_order(records: list[Record]) -> list[tuple[Record, Record]]:
    """Returns pairs of one priority whose second was called after the first knew its place: it must be granted later."""
    pairs = []
    for priority in {record.priority for record in records}:
        same = [record for record in records if record.priority == priority]
        known = [record for record in same if record.queued_at is not None]
        pairs += [(a, b) for a in known for b in same if b.called > (a.queued_at or 0)]
    return pairs


def most_in_window(grants: list[tuple[float, int]], window: float) -> int:
    recent: deque[tuple[float, int]] = deque()
    used = most = 0
    for at, units in sorted(grants):
        recent.append((at, units))
        used += units
        while recent[0][0] <= at - window:
            used -= recent.popleft()[1]
        most = max(most, used)
    return most


async def kill_leaders(cluster: Cluster, provider: Provider) -> list[int]:
    """Kills the leader twice, each time in the middle of the work, and brings it back."""
    killed = []
    for served in KILL_AFTER:
        await provider.reached(served)
        node = await asyncio.to_thread(cluster.kill_leader, "shared")
        killed.append(node)
        await asyncio.sleep(2)
        cluster.start_node(node)
    return killed


async def run(cluster: Cluster) -> tuple[list[Record], Provider, list[int], str]:
    provider = Provider()
    async with AsyncClient(cluster.url) as client:
        await client.resources.put("shared", RESOURCE)
        killing = asyncio.create_task(kill_leaders(cluster, provider))
        tasks = []
        for n in range(TASKS):
            # The small tasks and the first large one fill a window to its last unit.
            small = n < TASKS - LARGE_TASKS
            priority, units = (random.choice((3, 5, 7)), SMALL) if small else (9, LARGE)
            tasks.append(asyncio.create_task(work(client, provider, priority, units)))
            # Somewhat more than are served in that time, so that hundreds wait when the leader is killed.
            if n % 10 == 9:
                await asyncio.sleep(0.1)
        records = await asyncio.gather(*tasks)
        asked_first = client._core.nodes.first(_wire.about_resource("shared"))
        return records, provider, await killing, asked_first


def test_no_task_notices_that_the_leader_was_killed_twice(cluster: Cluster) -> None:
    began = time.monotonic()
    records, provider, killed, asked_first = asyncio.run(run(cluster))
    waited = sum(record.queued_at is not None for record in records)
    pairs = in_order(records)
    print(
        f"{len(records)} tasks in {time.monotonic() - began:.1f} s, leaders killed: {killed}, waited in the queue: {waited}, "
        f"most at once: {provider.most_at_once} of {SLOTS}, most units in {WINDOW:g} s of grants: "
        f"{most_in_window(provider.grants, WINDOW)}, of calls: {most_in_window(provider.seen, WINDOW)}, refused: "
        f"{provider.refused}, latest call after its grant: {provider.latest:.2f} s, pairs whose order counts: {len(pairs)}"
    )
    assert len(records) == TASKS
    assert len(killed) == 2
    assert asked_first == cluster.urls[cluster.leader("shared") or 0]
    assert waited > TASKS / 2
    assert provider.refused == 0
    assert provider.most_at_once <= SLOTS
    assert most_in_window(provider.grants, WINDOW) <= UNITS
    assert len({record.token for record in records}) == TASKS
    assert len(pairs) > TASKS
    assert [(first, second) for first, second in pairs if first.token > second.token] == []
