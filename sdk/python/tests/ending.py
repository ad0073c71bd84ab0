"""Processes that end in the middle of an acquire: ``python ending.py URL RESOURCE COUNT SEED``.

Starts COUNT children, one after the other. Each acquires in a loop, and is sent SIGTERM, SIGHUP or SIGINT at some instant: before
it has started its call, while it waits, holds, or releases. Prints how the children ended, in JSON.
"""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import sys
import time

import ratequeue

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
AGAIN_AFTER = 15.0
AT_MOST = 0.25
"""Seconds after which a child is ended at the latest."""
TTL = 300


def work(url: str, name: str) -> None:
    client = ratequeue.Client(url)
    while True:
        with client.acquire(name, ttl=TTL, timeout=60):
            time.sleep(0.03)
        # Kept without a block, until the process ends.
        lease = client.acquire(name, ttl=TTL, timeout=60).open()
        time.sleep(0.03)
        lease.release()


def main(url: str, name: str, count: int, seed: int) -> collections.Counter[str]:
    ends: collections.Counter[str] = collections.Counter()
    chance = random.Random(seed)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for nth in range(count):
        # Python swallows what a signal raises in the middle of os.fork.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        child = os.fork()
        if child == 0:
            ratequeue.exit_on_signals()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            # The interpreter ends as it always does, at the end of this file.
            work(url, name)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        time.sleep(chance.uniform(0, AT_MOST))
        ends[str(end(child, SIGNALS[nth % len(SIGNALS)]))] += 1
    return ends


def end(child: int, how: signal.Signals) -> int:
    """Sends a signal, and once more if that is swallowed: Python does so while it collects an object. Returns the exit code."""
    while True:
        os.kill(child, how)
        deadline = time.monotonic() + AGAIN_AFTER
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)


if __name__ == "__main__":
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
