"""Ends of callers, which leave nothing behind: processes that are signalled, blocks that are dropped, tasks that are cancelled.

Leases live for minutes here, and the claim time of the resource is that of the server: what is free within it was given back, or
lapsed because nobody claimed it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

import pytest
from ending import TTL
from waiting import eventually

import ratequeue
from ratequeue.aio import AsyncClient
from ratequeue.testing import Node

Make = Callable[..., str]
CLAIM = 5.0
"""Seconds of the resource's ``claim_ms``, unless it was set."""
BUSY = 5.0
"""Seconds that a busy machine adds."""
BY_SIGNAL = 120
DROPPED = 40
CANCELLED = 40
ENDING = Path(__file__).parent / "ending.py"


def signalled(url: str, name: str, seed: int) -> dict[str, int]:
    args = [sys.executable, str(ENDING), url, name, str(BY_SIGNAL // 4), str(seed)]
    done = subprocess.run(args, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    ends: dict[str, int] = json.loads(done.stdout)
    return ends


def drop(url: str, name: str, chance: random.Random) -> None:
    """Ends blocks in a thread without leaving them: the frame that held them is gone."""
    client = ratequeue.Client(url)
    for nth in range(DROPPED // 4):
        acquire = client.acquire(name, ttl=TTL, timeout=60)
        held = acquire.open() if nth % 2 else acquire.__enter__()
        time.sleep(chance.uniform(0, 0.05))
        del held, acquire


async def cancel(url: str, name: str, chance: random.Random) -> None:
    async def work(client: AsyncClient) -> None:
        while True:
            async with client.acquire(name, ttl=TTL, timeout=60):
                await asyncio.sleep(0.03)
            lease = await client.acquire(name, ttl=TTL, timeout=60).open()
            await asyncio.sleep(0.03)
            await lease.release()

    async with AsyncClient(url) as client:
        for _ in range(CANCELLED // 4):
            task = asyncio.create_task(work(client))
            await asyncio.sleep(chance.uniform(0, 0.25))
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_ends_at_two_hundred_instants_leave_nothing(client: ratequeue.Client, make: Make, ratequeue_node: Node) -> None:
    url, seed = ratequeue_node.url, random.randrange(2**32)
    names = [make(slots=1) for _ in range(4)]
    began = time.monotonic()
    with ThreadPoolExecutor(12) as threads:
        chance = [random.Random(seed + nth) for nth in range(8)]
        ends = [threads.submit(signalled, url, name, seed + nth) for nth, name in enumerate(names)]
        others = [threads.submit(drop, url, name, chance[nth]) for nth, name in enumerate(names)]
        others += [threads.submit(asyncio.run, cancel(url, name, chance[4 + nth])) for nth, name in enumerate(names)]
        for other in others:
            other.result()
        found = [end.result() for end in ends]
    ended = time.monotonic()

    def nothing() -> bool:
        stats = [client.stats(name) for name in names]
        return all(view["held"] == 0 and view["queue_depth"] == 0 for view in stats)

    eventually(f"nothing is held and nobody waits (seed {seed})", nothing, CLAIM + BUSY)
    print(f"seed {seed}: {ended - began:.1f} s, then free after {time.monotonic() - ended:.2f} s; children: {found}")
    assert sum(sum(ends.values()) for ends in found) == BY_SIGNAL
    for how in (signal.SIGTERM, signal.SIGHUP):
        assert sum(ends.get(str(128 + how), 0) for ends in found) == BY_SIGNAL // 3


def run_and_end(code: str, url: str, name: str, **signals: Any) -> None:
    """Runs some code in a process of its own, which waits to be read from, is signalled, and ends."""
    program = f"import ratequeue, sys, threading, time\nurl, name = sys.argv[1:]\n{code}"
    with subprocess.Popen([sys.executable, "-c", program, url, name], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        if "signal" in signals:
            process.send_signal(signals["signal"])
        process.wait(60)


AT_EXIT = {
    "a lease without a block": "lease = ratequeue.Client(url).acquire(name, ttl=300).open()\nprint('ready')",
    "a thread that does not keep the process": """
def work():
    with ratequeue.Client(url).acquire(name, ttl=300):
        print('ready', flush=True)
        time.sleep(300)
thread = threading.Thread(target=work, daemon=True)
thread.start()
while not ratequeue.Client(url).stats(name)['held']:
    time.sleep(0.01)
time.sleep(0.1)
""",
    "asyncio": """
import asyncio, ratequeue.aio
async def main():
    return await ratequeue.aio.AsyncClient(url).acquire(name, ttl=300).open()
loop = asyncio.new_event_loop()
lease = loop.run_until_complete(main())
print('ready')
""",
}


@pytest.mark.parametrize("how", AT_EXIT)
def test_what_is_held_at_the_end_of_the_process_is_released(
    client: ratequeue.Client, make: Make, ratequeue_node: Node, how: str
) -> None:
    name = make(slots=1)
    run_and_end(AT_EXIT[how], ratequeue_node.url, name)
    assert client.stats(name)["held"] == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_before_the_first_answer_gives_the_place_up(own_node: Node, how: signal.Signals) -> None:
    process = own_node.process
    assert process is not None
    with ratequeue.Client(own_node.url) as client:
        client.resources.put("r", {"limits": {"slots": {"kind": "concurrency", "quota": 1}}})
        code = """
ratequeue.exit_on_signals()
client = ratequeue.Client(url)
client.stats(name)
print('ready', flush=True)
time.sleep(1)
with client.acquire(name, ttl=300):
    pass
"""
        program = f"import ratequeue, sys, time\nurl, name = sys.argv[1:]\n{code}"
        with (
            client.acquire("r"),
            subprocess.Popen(
                [sys.executable, "-c", program, own_node.url, "r"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as caller,
        ):
            assert caller.stdout is not None
            assert caller.stdout.readline() == b"ready\n"
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(2)
            caller.send_signal(how)
            threading.Timer(0.5, os.kill, (process.pid, signal.SIGCONT)).start()
            caller.wait(60)
            eventually("nobody waits", lambda: client.stats("r")["queue_depth"] == 0, BUSY)


def test_signals_that_are_handled_or_ignored_stay_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        ratequeue.exit_on_signals()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is before[1]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with ThreadPoolExecutor(1) as threads, pytest.raises(ratequeue.ConfigurationError, match="main thread"):
            threads.submit(ratequeue.exit_on_signals).result()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before[0])


class Watched(asyncio.SelectorEventLoop):
    """A loop that runs something when it is looked at, as if another thread had its turn right then."""

    done: Callable[[], object] = staticmethod(lambda: None)

    def is_closed(self) -> bool:
        self.done()
        return super().is_closed()


def test_loops_of_several_threads_come_and_go(ratequeue_node: Node, make: Make) -> None:
    name = make(slots=50)
    client = AsyncClient(ratequeue_node.url)

    async def one() -> None:
        async with client.acquire(name):
            pass

    def other() -> None:
        watched.done = lambda: None
        thread = threading.Thread(target=asyncio.run, args=(one(),))
        thread.start()
        threads.append(thread)
        # It takes part now, or waits for its turn.
        thread.join(0.3)

    threads: list[threading.Thread] = []
    watched = Watched()
    watched.run_until_complete(one())
    watched.done = other
    asyncio.run(one())
    assert threads
    for thread in threads:
        thread.join(30)
    watched.run_until_complete(watched.shutdown_asyncgens())
    watched.close()
