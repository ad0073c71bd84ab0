"""Measures the cost of the asyncio client beyond two bare calls of httpx to the same node.

    python bench/cost.py [--rounds 2000]

Starts a node, then takes turns: a pair of bare POSTs (acquire, release), the same through ``ratequeue.aio``; so that whatever
else the machine does falls on both alike. Prints the medians and their ratio; exits with 1 when it is over 1.5.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

import ratequeue
from ratequeue.aio import AsyncClient
from ratequeue.testing import Node

RATIO_MAX = 1.5
RESOURCE: ratequeue.ResourceSettings = {
    "limits": {
        "slots": {"kind": "concurrency", "quota": 1000},
        "tpm": {"kind": "rate", "quota": 10**12, "window_ms": 60000},
    }
}


async def bare(http: httpx.AsyncClient) -> None:
    granted = await http.post("/v1/resources/bench/acquire", json={"load": 1, "wait_ms": 1000, "hold_ms": 0})
    released = await http.post(f"/v1/leases/{granted.json()['id']}/release", json={"used": 1})
    released.raise_for_status().json()


async def through(client: AsyncClient) -> None:
    async with client.acquire("bench", timeout=1) as lease:
        lease.report(1)


async def measure(url: str, rounds: int) -> float:
    times: dict[str, list[float]] = {"bare": [], "client": []}
    async with AsyncClient(url) as client, httpx.AsyncClient(base_url=url) as http:
        await client.resources.put("bench", RESOURCE)
        for number in range(rounds + 50):
            for name, pair in (("bare", bare(http)), ("client", through(client))):
                began = time.perf_counter()
                await pair
                if number >= 50:
                    times[name].append(time.perf_counter() - began)
    bare_ms, client_ms = (statistics.median(times[name]) * 1000 for name in ("bare", "client"))
    print(f"acquire + release, median of {rounds}, taking turns on one node:")
    print(f"  bare httpx POST pair  {bare_ms:.3f} ms")
    print(f"  ratequeue.aio         {client_ms:.3f} ms")
    print(f"  ratio                 {client_ms / bare_ms:.2f} (at most {RATIO_MAX})")
    return client_ms / bare_ms


def main() -> int:
    parser = argparse.ArgumentParser(description="The cost of the asyncio client beside bare httpx")
    parser.add_argument("--rounds", type=int, default=2000)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="ratequeue-") as folder:
        node = Node(Path(folder))
        node.start()
        try:
            return int(asyncio.run(measure(node.url, rounds)) > RATIO_MAX)
        finally:
            node.stop()


if __name__ == "__main__":
    sys.exit(main())
