#!/usr/bin/env python3
"""Measures what several regions cost: regions.py --binary target/release/ratequeue. Root; about two minutes.

    cluster A: three regions of three nodes, 80 ms apart         cluster B: one region of three nodes
    ----------------------------------------------------         --------------------------------------
    both run all the time; one connection calls one of them, the other is idle; A and B take turns

Shown are medians over the rounds, with the least and the greatest: first what a region's own resource costs beside a
cluster that has no other regions, then what a resource with placement global costs, then one of another region.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Callable

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "testnet"))

import cluster as clusters  # noqa: E402
import net  # noqa: E402
import roundtrip  # noqa: E402
from call import Caller  # noqa: E402
from cluster import Cluster  # noqa: E402
from figures import Ratio, Row, table  # noqa: E402
from layout import Failed, Node, Usage  # noqa: E402

_LIMITS = {"slots": {"kind": "concurrency", "quota": 1000}}
_PLACE_MAX_S = 20.0
_LEADER_MAX_S = 10.0
# Calls before each series that are not counted: they open connections and fill caches.
_WARM_UP = 3
# So many tell a p99.
_NEAR_SAMPLES_MIN = 100
_HOME = 1


class Stage:
    """One cluster and what it takes to call it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.home = cluster.region_name(_HOME)

    def place(self, placement: str) -> str:
        """Creates a resource; until groups have leaders that takes some attempts."""
        name, until = f"bench-{placement}", time.monotonic() + _PLACE_MAX_S
        caller = Caller(self.cluster.plan.nodes_of(_HOME)[0].http)
        with contextlib.closing(caller):
            while True:
                status, answer = caller.call("PUT", f"/v1/resources/{name}",
                                             {"placement": placement, "limits": _LIMITS})
                if status in (200, 201):
                    return name
                if status != 503 or time.monotonic() > until:
                    raise Failed(f"creating a resource with placement {placement}: {_said(status, answer)}")
                time.sleep(0.2)

    def leader(self, group: str, region: int) -> Node:
        until = time.monotonic() + _LEADER_MAX_S
        while True:
            node = self.cluster.leader(group, region)
            if node is not None:
                return node
            if time.monotonic() > until:
                raise Failed(f"group {group} has no leader, says {self.cluster.region_name(region)}")
            time.sleep(0.1)

    def region_leader(self, region: int) -> Node:
        return self.leader(self.cluster.region_name(region), region)

    def region_follower(self, region: int) -> Node:
        leader = self.region_leader(region)
        others = [node for node in self.cluster.plan.nodes_of(region) if node != leader]
        if not others:
            raise Failed("a region of one node has no follower")
        return others[0]


def _said(status: int, answer: Any) -> str:
    detail = f"{answer.get('code')}: {answer.get('detail')}" if isinstance(answer, dict) else str(answer)[:200]
    return f"{status} {detail}"


def series(node: Node, resource: str, seconds: float, samples_min: int, with_release: bool) -> list[float]:
    """One call after another over one connection, in ms: acquire alone, or acquire and release together."""
    with contextlib.closing(Caller(node.http)) as caller:
        path = f"/v1/resources/{resource}/acquire"
        samples: list[float] = []
        count, start = 0, time.monotonic()
        while count < samples_min + _WARM_UP or time.monotonic() - start < seconds:
            before = time.perf_counter_ns()
            status, lease = caller.call("POST", path, {"ttl_ms": 60_000})
            acquired = time.perf_counter_ns()
            if status != 200:
                raise Failed(f"acquire at {node.http}: {_said(status, lease)}")
            status, answer = caller.call("POST", f"/v1/leases/{lease['id']}/release", {})
            released = time.perf_counter_ns()
            if status != 200:
                raise Failed(f"release at {node.http}: {_said(status, answer)}")
            count += 1
            if count > _WARM_UP:
                samples.append(((released if with_release else acquired) - before) / 1e6)
        return samples


# What is measured for a row, in one round.
Measure = Callable[[], "list[float]"]


def own_region(a: Stage, b: Stage, wish: argparse.Namespace) -> list[tuple[Row, Measure]]:
    """A region's own resource: the large cluster and the small one in turn."""
    heading = "Acquire and release, a resource of the asked node's own region"
    in_a, in_b = a.place(a.home), b.place(b.home)
    sizes = {"a": f"{count(wish.nodes * wish.regions, 'node')} in {count(wish.regions, 'region')}",
             "b": f"{count(wish.nodes, 'node')} in 1 region"}
    plans: list[tuple[Row, Measure]] = []
    for role in ("leader", "follower"):
        for key, stage, resource in (("a", a, in_a), ("b", b, in_b)):
            row = Row(f"own_region_{role}_{key}", heading, f"{sizes[key]}, asking a {role}")

            def measure(stage: Stage = stage, resource: str = resource, role: str = role) -> list[float]:
                node = stage.region_leader(_HOME) if role == "leader" else stage.region_follower(_HOME)
                return series(node, resource, wish.seconds, _NEAR_SAMPLES_MIN, with_release=True)

            plans.append((row, measure))
    return plans


def across(a: Stage, wish: argparse.Namespace) -> list[tuple[Row, Measure]]:
    """Resources with placement global, asked for in each region, and one region's resource, likewise."""
    leaders: set[Node] = set()
    plans: list[tuple[Row, Measure]] = []
    home = a.place(a.home)
    for kind in ("global", "other"):
        for region in a.cluster.plan.region_numbers():
            name = a.cluster.region_name(region)
            if kind == "global":
                row = Row(f"global_{name}", "Acquire, a resource with placement global", f"asked in {name}")
            else:
                how = "" if region == _HOME else ", forwarded"
                row = Row(f"{a.home}_from_{name}", f"Acquire, a resource of {a.home}", f"asked in {name}{how}")

            def measure(row: Row = row, region: int = region, kind: str = kind) -> list[float]:
                node = a.region_leader(region)
                if kind == "other":
                    return series(node, home, 0, wish.far_samples, with_release=False)
                resource, leader = a.place("global"), a.leader("global", region)
                leaders.add(leader)
                if len(leaders) > 1:
                    raise Failed("the global group changed its leader: what came before and after does not compare")
                if leader.region == region:
                    node = leader
                    row.text = f"asked in {row.name[len('global_'):]}, at the global group's leader"
                return series(node, resource, 0, wish.far_samples, with_release=False)

            plans.append((row, measure))
    return plans


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def rounds(plans: list[tuple[Row, Measure]], wish: argparse.Namespace, until: float) -> int:
    """Measures each row once a round; a row that fails is left out from then on. Gives how many rounds there were."""
    for done in range(wish.rounds):
        started = time.monotonic()
        for row, measure in plans:
            if row.failure:
                continue
            try:
                row.rounds.append(measure())
            except (Failed, OSError, KeyError) as error:
                row.failure = str(error) or repr(error)
        took = time.monotonic() - started
        progress(f"round {done + 1} of {wish.rounds}: {took:.0f} s")
        if done + 1 < wish.rounds and time.monotonic() + took > until:
            progress("another round would take too long")
            return done + 1
    return int(wish.rounds)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def bench(wish: argparse.Namespace) -> int:
    until = time.monotonic() + wish.time_max_s
    tag = f"bn{os.getpid() % 10_000_000}"
    with contextlib.ExitStack() as stack:
        progress(f"starting {wish.regions} x {wish.nodes} and 1 x {wish.nodes} nodes")
        a = Stage(stack.enter_context(clusters.running(wish.binary, f"{tag}a", wish.regions, wish.nodes, wish.rtt_ms)))
        b = Stage(stack.enter_context(clusters.running(wish.binary, f"{tag}b", 1, wish.nodes, wish.rtt_ms)))
        measured = roundtrip.between_regions_ms(a.cluster.plan, 10)
        own, far = own_region(a, b, wish), across(a, wish) if wish.regions > 1 else []
        done = rounds(own + far, wish, until)
    rows: list[Row | Ratio] = []
    for first in range(0, len(own), 2):
        large, small = own[first][0], own[first + 1][0]
        rows += [large, small, Ratio(large, small)]
    rows += [row for row, _ in far]
    show(rows, wish, measured, done)
    return 1 if any(isinstance(row, Row) and row.failure for row in rows) else 0


def show(rows: list[Row | Ratio], wish: argparse.Namespace, measured: dict[str, float], done: int) -> None:
    if wish.json:
        print(json.dumps({
            "regions": wish.regions, "nodes_per_region": wish.nodes, "rtt_ms": wish.rtt_ms, "rounds": done,
            "tcp_round_trip_ms": {pair: round(ms, 3) for pair, ms in measured.items()},
            "rows": [row.as_json() for row in rows if isinstance(row, Row)],
            "ratios": [row.as_json() for row in rows if isinstance(row, Ratio)],
        }, indent=1))
        return
    print(f"{count(wish.regions, 'region')} of {count(wish.nodes, 'node')}, {wish.rtt_ms:g} ms apart.")
    if measured:
        trips = ", ".join(f"{pair}: {ms:.1f} ms" for pair, ms in measured.items())
        print(f"TCP round trips measured between regions {trips}.")
    print(f"One connection, one call after another. Median of {count(done, 'round')} (least - greatest).\n")
    print(table(rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=Path("target/release/ratequeue"))
    parser.add_argument("--regions", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=3, help="nodes in each region")
    parser.add_argument("--rtt-ms", type=float, default=80, help="round trip between any two regions")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row of the own region, in each round")
    parser.add_argument("--far-samples", type=int, default=10, help="calls for each other row, in each round")
    parser.add_argument("--time-max-s", type=float, default=170, help="no new round that would end later than this")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    wish = parser.parse_args()
    clusters.end_on_signals()
    try:
        net.check_rtt(wish.rtt_ms)
        if wish.rounds < 1 or wish.far_samples < 1:
            raise Usage("--rounds and --far-samples are at least 1")
        return bench(wish)
    except KeyboardInterrupt:
        progress("stopped")
        return 1
    except Usage as error:
        progress(f"regions.py: {error}")
        return 2
    except (Failed, OSError) as error:
        progress(f"regions.py: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
