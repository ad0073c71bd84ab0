#!/usr/bin/env python3
"""Grows a cluster under load from one region to three and shrinks it back; kills single nodes after every step.

    scripts/members/grow.py --binary target/debug/ratequeue [--seed N] [--victims N]

Nodes are added one by one until three regions have three each, and removed one by one until the first is left.
After every step nodes are killed, one at a time: while one is dead names are created, `global` resources are acquired,
and those of every region that has a majority of its own. Then it is started again. No lease may be lost, and never may
more be held than the limit admits, as the callers count. It ends with 1 on a breach.
"""
from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import checks
from load import QUOTA, Load
from nodes import GLOBAL, Breach, Cluster, end_on_signals
from procedures import losses

FIRST = "eu"
# How long a command is repeated that a busy machine keeps from its leader.
_REPEAT_MAX_S = 60.0
LATER = {"us": (4, 5, 6), "ap": (7, 8, 9)}


class Run:
    def __init__(self, cluster: Cluster, seed: int, victims: int | None) -> None:
        self.kills = 0
        self.load = Load(cluster, seed)
        self._cluster, self._victims = cluster, victims
        self._chance = random.Random(seed)
        self._leases: checks.Leases = {}
        self._begun = time.monotonic()

    def all(self) -> None:
        self._cluster.describe(FIRST, 1, 2, 3)
        self._cluster.start(1, 2, 3)
        self._run("init")
        self._open(FIRST)
        self._open(GLOBAL)
        self._kill_each("init")
        for region, nodes in LATER.items():
            for node in nodes:
                self._add(region, node)
        for region, nodes in reversed(LATER.items()):
            for node in reversed(nodes):
                self._remove(region, node)
        self.load.stop()
        checks.is_held(self._cluster, self._leases)

    def _open(self, placement: str) -> None:
        """Something that is held for good, and callers."""
        limits = {"slots": {"kind": "concurrency", "quota": QUOTA}}
        checks.create(self._cluster, 1, f"load-{placement}", placement, limits)
        self._leases |= checks.hold(self._cluster, [placement])
        self.load.add(placement)
        self.load.goes_on(placement)

    def _close(self, placement: str) -> None:
        """Nothing lives there any more: its last node may go."""
        self.load.stop(placement)
        lease = self._leases.pop(placement)
        self._call("POST", f"/v1/leases/{lease}/release", {}, 200)
        for name in [f"load-{placement}", f"kept-{placement}"]:
            self._call("DELETE", f"/v1/resources/{name}", None, 204)

    def _call(self, method: str, path: str, body: object, wanted: int) -> None:
        status, answer = self._cluster.call(1, method, path, body)
        if status != wanted:
            raise Breach(f"{method} {path} was answered {status}: {answer}")

    def _add(self, region: str, node: int) -> None:
        self._cluster.describe(region, node)
        self._cluster.start(node)
        self._run("add-node", "--id", str(node))
        if node == LATER[region][0]:
            self._open(region)
        self._kill_each(f"add {node}")

    def _remove(self, region: str, node: int) -> None:
        words = ["remove-node", "--id", str(node)]
        rest = len(self._cluster.nodes_of(region)) - 1
        if rest == 0:
            self._refused(words, "resources live")
            self._close(region)
        elif losses(rest) < losses(rest + 1):
            self._refused(words, "repeat this with --shrink")
            words.append("--shrink")
        self._run(*words)
        self._cluster.forget(node)
        self._kill_each(f"remove {node}")

    def _run(self, *words: str) -> None:
        """Also once more: a region that has just got a node back may have no leader yet."""
        self._until(list(words), lambda code, _text: code == 0)

    def _refused(self, words: list[str], why: str) -> None:
        self._until(words, lambda code, text: code == 1 and why in text)

    def _until(self, words: list[str], is_it: Callable[[int, str], bool]) -> None:
        until = time.monotonic() + _REPEAT_MAX_S
        while True:
            code, text = self._cluster.command(*words).wait()
            if is_it(code, text):
                return
            if code == 0 or time.monotonic() > until:
                raise Breach(f"`cluster {' '.join(words)}` has ended with {code}: {text}")
            time.sleep(0.5)

    def _kill_each(self, step: str) -> None:
        checks.is_settled(self._cluster)
        if checks.tolerated(self._cluster)[GLOBAL] < 1:
            raise Breach(f"after {step} the global group tolerates no loss")
        nodes = sorted(self._cluster.regions)
        self._chance.shuffle(nodes)
        # The one that leads is among the first in any case.
        leader = self._cluster.leader(GLOBAL)
        nodes.sort(key=lambda node: node != leader)
        for node in nodes[:self._victims]:
            self._kill(step, node)
        voters = self._cluster.views([1])[1]["groups"][GLOBAL]["voters"]
        print(f"{time.monotonic() - self._begun:6.1f} s {step:9} global voters {voters}, {self.kills} kills, "
              f"{sum(self.load.granted.values())} grants", flush=True)

    def _kill(self, step: str, node: int) -> None:
        """The rest goes on without one node, and with it once it is back."""
        try:
            self._cluster.kill(node)
            self.kills += 1
            checks.create(self._cluster, self._cluster.running()[0], f"new-{self.kills}", GLOBAL)
            self.load.goes_on(GLOBAL, *(region for region in self._regions() if self._has_majority(region)))
            self._cluster.start(node)
            checks.is_settled(self._cluster)
            self.load.goes_on(GLOBAL, *self._regions())
            checks.is_held(self._cluster, self._leases)
        except Breach as breach:
            raise Breach(f"after {step}, kill of node {node}: {breach}") from None

    def _regions(self) -> list[str]:
        """Those in which something lives."""
        return [region for region in sorted(set(self._cluster.regions.values())) if region in self._leases]

    def _has_majority(self, region: str) -> bool:
        nodes = self._cluster.nodes_of(region)
        return sum(self._cluster.is_running(node) for node in nodes) * 2 > len(nodes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=Path("target/debug/ratequeue"))
    parser.add_argument("--seed", type=int, default=1, help="in which order nodes are killed, and whom callers call")
    parser.add_argument("--victims", type=int, metavar="N",
                        help="so many nodes after every step, the global leader first; else all")
    parser.add_argument("--keep", action="store_true", help="keep the folder after a breach")
    wish = parser.parse_args()
    end_on_signals()
    if not os.access(wish.binary, os.X_OK):
        print(f"grow.py: {wish.binary} is not a program: run cargo build, or give --binary",
              file=sys.stderr)
        return 2
    folder, breach = Path(tempfile.mkdtemp(prefix="ratequeue-grow-")), ""
    with Cluster(wish.binary, folder) as cluster:
        run = Run(cluster, wish.seed, wish.victims)
        try:
            run.all()
        except Breach as found:
            breach = str(found)
        except KeyboardInterrupt:
            breach = "it was ended from outside"
    if not (breach and wish.keep):
        shutil.rmtree(folder, ignore_errors=True)
    print("\nplacement   granted  held at most, of " + str(QUOTA))
    for placement, count in sorted(run.load.granted.items()):
        print(f"{placement:10} {count:8}  {run.load.held_max[placement]}")
    if breach:
        print(f"\nBREACH {breach}{f' (logs: {folder})' if wish.keep else ''}")
    print(f"\ngrow: {run.kills} kills, {sum(run.load.granted.values())} grants, {'a breach' if breach else 'no breach'}")
    return 1 if breach else 0


if __name__ == "__main__":
    sys.exit(main())
