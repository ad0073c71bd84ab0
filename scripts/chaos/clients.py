#!/usr/bin/env python3
"""One client of a chaos run: a process whose callers live by the clock, not by the answers.

    clients.py FOLDER NUMBER SEED

reads FOLDER/workload.json, writes FOLDER/history-NUMBER.jsonl, and lives until SIGTERM; then it begins nothing more,
finds out what is still unknown, gives back what it holds, and ends. A caller is born every 1/rate s on average, however
slow the cluster is, and has one of the lives below.
"""
from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import workload
from calls import Answer, Caller
from history import History
from workload import Resource

# What is unknown or refused for the moment is repeated for so long, through one node after another.
_REPEAT_S = 25.0
# How long the server holds a call open, at most; a call that takes this much longer has failed.
_HOLD_MAX_MS = 4_000
_CALL_S = 4.0
# After the last birth, callers have so long to come to their end.
_END_S = 30.0
# Callers alive at once; those beyond are not born, which the run counts.
_ALIVE_MAX = 600
_LAG_EVERY_S = 0.02
_FOR_THE_MOMENT = ("no-quorum", "shutting-down", "storage-full", "too-many-requests")


class Client:
    """The callers of one process."""

    def __init__(self, folder: Path, number: int, seed: int) -> None:
        self._folder = folder
        self.load = workload.read(folder / "workload.json")
        self.number = number
        self.random = random.Random(f"{seed} {number}")
        self.caller = Caller(self.load.places, History(folder / f"history-{number}.jsonl"))
        self.is_ending = asyncio.Event()
        self._born = 0
        self._alive: set[asyncio.Task[None]] = set()

    async def live(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.is_ending.set)
        watch = asyncio.get_running_loop().create_task(self._watch())
        due = time.monotonic()
        while not self.is_ending.is_set():
            due += self.random.expovariate(self.load.rate)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if len(self._alive) < _ALIVE_MAX:
                self._bear()
        if self._alive:
            await asyncio.wait(self._alive, timeout=_END_S)
        watch.cancel()

    async def _watch(self) -> None:
        """Follows the workload, and notes by how much this process is late at most: what it says of the time of an
        answer is as late."""
        worst_ms, runner = 0.0, os.getppid()
        path = self._folder / "workload.json"
        read_at = path.stat().st_mtime_ns
        while True:
            if os.getppid() != runner:
                # Whoever began this run is gone, and cannot end its clients any more.
                os._exit(1)
            if path.stat().st_mtime_ns != read_at:
                read_at = path.stat().st_mtime_ns
                self.load = workload.read(path)
                self.caller.find(self.load.places)
            due = time.monotonic() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            late_ms = (time.monotonic() - due) * 1000
            if late_ms > worst_ms:
                worst_ms = late_ms
                (self._folder / f"lag-{self.number}").write_text(f"{worst_ms:.0f}")

    def _bear(self) -> None:
        self._born += 1
        resource = self.random.choice(self.load.resources)
        lives = [self.hold, self.try_once, self.poll, self.hang_up, self.forget]
        life = self.random.choices(lives, (5, 3, 3, 1, 1))[0]
        task = asyncio.get_running_loop().create_task(life(resource, f"c{self.number}-{self._born}"))
        self._alive.add(task)
        task.add_done_callback(self._alive.discard)

    async def hold(self, resource: Resource, key: str) -> None:
        """Waits for its turn, works, sometimes for longer than was thought, and releases."""
        answer = await self.acquire(resource, key, self.draw(resource.wait_ms))
        await self.work(resource, answer)

    async def try_once(self, resource: Resource, key: str) -> None:
        """Does not wait."""
        await self.work(resource, await self.acquire(resource, key, 0))

    async def poll(self, resource: Resource, key: str) -> None:
        """Takes a place, and asks again and again."""
        answer = await self.acquire(resource, key, self.draw(resource.wait_ms), hold_ms=self.random.choice((0, 300)))
        await self.work(resource, answer)

    async def hang_up(self, resource: Resource, key: str) -> None:
        """Breaks its call off, and comes back with its key."""
        wait_ms = self.draw(resource.wait_ms)
        # What differs is another request: the repetitions are the same.
        asks = self.asks(resource, wait_ms, _HOLD_MAX_MS)
        task = asyncio.ensure_future(self.acquire_once(resource, key, asks))
        await asyncio.wait({task}, timeout=self.random.uniform(0.01, 0.6))
        if not task.done():
            task.cancel()
        await asyncio.sleep(self.random.uniform(0, 2))
        await self.work(resource, await self.until_told(resource, key, asks, wait_ms))

    async def forget(self, resource: Resource, key: str) -> None:
        """Acquires and is never heard of again: its time runs out."""
        await self.acquire(resource, key, self.draw(resource.wait_ms))

    async def acquire(self, resource: Resource, key: str, wait_ms: int, hold_ms: int = _HOLD_MAX_MS) -> Answer:
        return await self.until_told(resource, key, self.asks(resource, wait_ms, hold_ms), wait_ms)

    def asks(self, resource: Resource, wait_ms: int, hold_ms: int) -> dict[str, Any]:
        priority = self.random.randint(3, 7) if resource.has_priorities else 5
        return {"load": self.draw(resource.load), "priority": priority, "wait_ms": wait_ms, "hold_ms": hold_ms,
                "ttl_ms": self.draw(resource.ttl_ms)}

    async def acquire_once(self, resource: Resource, key: str, asks: dict[str, Any]) -> Answer:
        return await self.caller.call(
            self.node(resource), "POST", f"/v1/resources/{resource.name}/acquire", asks,
            _CALL_S + asks["hold_ms"] / 1000, key, do="acquire", resource=resource.name, **asks)

    async def until_told(self, resource: Resource, key: str, asks: dict[str, Any], wait_ms: int) -> Answer:
        """Repeats the request until it is known what became of it, and asks for the lease while it waits."""
        until = time.monotonic() + wait_ms / 1000 + _REPEAT_S
        answer = await self.acquire_once(resource, key, asks)
        while time.monotonic() < until:
            if answer.body.get("state") == "waiting" and answer.outcome == "ok":
                answer = await self.look(resource, answer)
            elif answer.outcome == "unknown" or answer.code in _FOR_THE_MOMENT:
                await asyncio.sleep(self.random.uniform(0.05, 0.3))
                answer = await self.acquire_once(resource, key, asks)
            else:
                break
        return answer

    async def look(self, resource: Resource, waiting: Answer) -> Answer:
        """Asks for a lease that waits; what was known while there is no better answer."""
        wait_ms = self.random.choice((0, 200, 1_000, 3_000))
        lease = waiting.body["id"]
        answer = await self.caller.call(
            self.node(resource), "GET", f"/v1/leases/{lease}?wait_ms={wait_ms}", {}, _CALL_S + wait_ms / 1000,
            do="look", lease=lease, resource=resource.name, wait_ms=wait_ms)
        if wait_ms == 0 or answer.outcome == "unknown":
            await asyncio.sleep(self.random.uniform(0.1, 0.5))
        return waiting if answer.outcome == "unknown" or answer.code in _FOR_THE_MOMENT else answer

    async def work(self, resource: Resource, answer: Answer) -> None:
        """Holds what it was granted for a time, and gives it back."""
        if answer.outcome != "ok" or answer.body.get("state") != "held":
            return
        lease, load = answer.body["id"], answer.body.get("charged", {})
        await asyncio.sleep(self.draw(resource.hold_ms) / 1000)
        if self.random.random() < 0.15:
            ttl_ms = self.draw(resource.ttl_ms)
            await self.caller.call(self.node(resource), "POST", f"/v1/leases/{lease}/extend", {"ttl_ms": ttl_ms}, _CALL_S,
                                   do="extend", lease=lease, resource=resource.name, ttl_ms=ttl_ms)
            await asyncio.sleep(self.draw(resource.hold_ms) / 1000)
        asked = max(load.values(), default=0)
        used = {"used": self.random.randint(0, asked)} if resource.is_corrected and asked else {}
        await self.release(resource, lease, used)

    async def release(self, resource: Resource, lease: str, used: dict[str, int]) -> None:
        until = time.monotonic() + _REPEAT_S
        while time.monotonic() < until:
            answer = await self.caller.call(self.node(resource), "POST", f"/v1/leases/{lease}/release", used, _CALL_S,
                                            do="release", lease=lease, resource=resource.name, **used)
            if answer.outcome != "unknown" and answer.code not in _FOR_THE_MOMENT:
                return
            await asyncio.sleep(self.random.uniform(0.05, 0.3))

    def node(self, resource: Resource) -> int:
        """Any node; mostly one of the resource's own region."""
        near = self.load.near(resource)
        return self.random.choice(near if self.random.random() < 0.85 else list(self.load.places))

    def draw(self, between: tuple[int, int]) -> int:
        return self.random.randint(*between)


def main() -> int:
    folder, number, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

    async def run() -> None:
        await Client(folder, number, seed).live()

    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
