#!/usr/bin/env python3
"""Kills the command and every node at every step of the procedures that change the members of a cluster.

    scripts/members/kill.py --binary target/debug/ratequeue [--seed N] [--points N | --only NAME...] [--down S]

A point is a procedure, a moment and a victim. The moment is a step that the nodes show (`recorded`, `region-joint`, ...)
or a part of the time that the procedure takes when nobody disturbs it. The victim is the command, one of the nodes, or
the node that leads the global group then; it gets SIGKILL as soon as the step is seen. After it the node is started
again and the command is repeated. It must succeed, or name the command that does; and then there must be one cluster
with the members that were meant, no group that tolerates fewer losses than before, work in every region, and every
lease that was held.

It ends with 1 when a point is a breach, or when too many steps were not hit.
"""
from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import checks
from nodes import GLOBAL, Breach, Cluster, Command, end_on_signals
from procedures import PROCEDURES, Procedure
from watch import COMMAND, LEADER, Strike, Watch

# The sweep: kills at so many moments, evenly spread over the time that the procedure takes.
MOMENTS = 15
# How long a victim stays away.
DOWN_S = (0.1, 0.8, 2.5)
# A step that follows the end of the command.
AFTER_END_S = 1.0
# How often the command, or the one that it names, is run at most.
REPEATS_MAX = 4
# Of the points that wait for a step, so many must have killed at it.
HITS_MIN = 0.8


@dataclass(frozen=True)
class Point:
    procedure: Procedure
    moment: str
    victim: str

    @property
    def name(self) -> str:
        return f"{self.procedure.name}/{self.moment}/{self.victim}"


@dataclass
class Result:
    point: Point
    # What became of the kill: "hit", "missed" when the step was not seen before the end.
    kill: str = ""
    first: str = ""
    repeats: int = 0
    breach: str = ""
    seconds: float = 0.0


def all_points() -> list[Point]:
    points = []
    for procedure in PROCEDURES:
        victims = [COMMAND, LEADER, *(f"node-{node}" for node in procedure.nodes())]
        moments = [step.name for step in procedure.steps] + [f"at-{n}" for n in range(MOMENTS)]
        points += [Point(procedure, moment, victim) for moment in moments for victim in victims]
    return points


def prepare(cluster: Cluster, procedure: Procedure) -> checks.Leases:
    """The cluster as it is before the procedure, and what is held in it."""
    for region, nodes in procedure.before.items():
        cluster.describe(region, *nodes)
    cluster.start(*cluster.regions)
    if procedure.forms:
        return {}
    repeat(cluster, ("init",))
    checks.is_settled(cluster)
    # A region with a resource in it is not removed with its last node.
    leaving = procedure.region if procedure.leaves and len(procedure.before[procedure.region]) == 1 else None
    leases = checks.hold(cluster, [*(region for region in procedure.before if region != leaving), GLOBAL])
    if procedure.leads:
        for group in (procedure.region, GLOBAL):
            succeed(cluster.command("transfer-leader", "--group", group, "--to", str(procedure.leads)))
    if procedure.is_lost and procedure.leaves:
        cluster.kill(procedure.leaves)
    if procedure.joins:
        cluster.describe(procedure.region, procedure.joins)
        cluster.start(procedure.joins)
    return leases


def succeed(command: Command) -> None:
    code, text = command.wait()
    if code != 0:
        raise Breach(f"`{command.line}` has ended with {code}: {text}")


def run_procedure(cluster: Cluster, point: Point, whole_s: float, down_s: float) -> tuple[str, str]:
    """Runs the command, and kills at the moment; whether that was hit, and how the command ended."""
    step = next((step for step in point.procedure.steps if step.name == point.moment), None)
    ready = threading.Event()
    strikes: list[Strike] = []
    with Watch(cluster, lambda views: ready.is_set() and step is not None and step.is_seen(views),
               lambda views: strikes[0](views)) as watch:
        command = cluster.command(*point.procedure.words)
        strikes.append(Strike(cluster, point.victim, command))
        ready.set()
        if step is None:
            time.sleep(whole_s * int(point.moment.removeprefix("at-")) / MOMENTS)
            strikes[0](cluster.views(cluster.running()) if point.victim == LEADER else {})
            watch.acted.set()
        hit = wait_for_step(watch, command)
        if not hit:
            strikes[0]({})
        if strikes[0].killed:
            time.sleep(down_s)
            cluster.start(strikes[0].killed)
        code, text = command.wait()
    if watch.breach:
        raise Breach(watch.breach)
    return "hit" if hit else "missed", f"{code}: {text}" if code else "succeeded"


def wait_for_step(watch: Watch, command: Command) -> bool:
    """Whether the step was seen before the command had ended, or a moment later."""
    ended: float | None = None
    while not watch.acted.wait(0.02):
        if command.has_ended():
            ended = ended or time.monotonic()
            if time.monotonic() > ended + AFTER_END_S:
                return False
    return True


def repeat(cluster: Cluster, words: tuple[str, ...]) -> int:
    """Repeats the command, or runs the one that it names, until it succeeds; how often that took."""
    said = []
    for count in range(1, REPEATS_MAX + 1):
        code, text = cluster.command(*words).wait()
        if code == 0:
            return count
        said.append(f"{' '.join(words)}: {text}")
        named = re.search(r"`ratequeue cluster ([^`]+)`", text)
        if named and "status" not in named[1]:
            words = tuple(word for word in named[1].split(" ") if word)
        elif not re.search(r"repeat|try again|goes on by itself", text, re.IGNORECASE):
            raise Breach("a dead end, for no command is named: " + " / ".join(said))
        time.sleep(0.5)
    raise Breach("a dead end: " + " / ".join(said))


def run_point(wish: argparse.Namespace, point: Point, whole_s: float) -> Result:
    result, begun = Result(point), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="ratequeue-members-"))
    down_s = wish.down or random.Random(f"{wish.seed} {point.name}").choice(DOWN_S)
    procedure = point.procedure
    try:
        with Cluster(wish.binary, folder) as cluster:
            leases = prepare(cluster, procedure)
            before = checks.tolerated(cluster)
            result.kill, result.first = run_procedure(cluster, point, whole_s, down_s)
            result.repeats = repeat(cluster, procedure.words)
            if procedure.leaves:
                cluster.forget(procedure.leaves)
            checks.is_settled(cluster)
            if not procedure.shrinks:
                checks.is_no_weaker(before, checks.tolerated(cluster))
            checks.is_at_work(cluster)
            checks.is_held(cluster, leases)
    except Breach as breach:
        result.breach = f"{breach}" + (f" (logs: {folder})" if wish.keep else "")
    result.seconds = time.monotonic() - begun
    if not (wish.keep and result.breach):
        shutil.rmtree(folder, ignore_errors=True)
    return result


def measure(binary: Path, procedure: Procedure) -> float:
    """How long the procedure takes when nobody disturbs it."""
    folder = Path(tempfile.mkdtemp(prefix="ratequeue-members-"))
    try:
        with Cluster(binary, folder) as cluster:
            prepare(cluster, procedure)
            begun = time.monotonic()
            succeed(cluster.command(*procedure.words))
            took = time.monotonic() - begun
            if procedure.leaves:
                cluster.forget(procedure.leaves)
            checks.is_settled(cluster)
            return took
    except Breach as breach:
        raise Breach(f"{procedure.name}: {breach}") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure_all(binary: Path, points: list[Point]) -> dict[str, float]:
    """How long each procedure takes in which a point is at a part of the time."""
    swept = {point.procedure.name for point in points if point.moment.startswith("at-")}
    took = {each.name: measure(binary, each) for each in PROCEDURES if each.name in swept}
    if took:
        print("undisturbed, s: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in took.items()), flush=True)
    return took


def select(points: list[Point], wish: argparse.Namespace) -> list[Point]:
    """The points that are asked for by name; or so many that wait for a step, as many of each procedure; or all."""
    if wish.only:
        return [point for point in points if any(re.fullmatch(name, point.name) for name in wish.only)]
    if wish.points is None:
        return points
    stepped = [point for point in points if not point.moment.startswith("at-")]
    by_procedure = [[point for point in stepped if point.procedure is each] for each in PROCEDURES]
    for group in by_procedure:
        random.Random(wish.seed).shuffle(group)
    rounds = range(max(map(len, by_procedure)))
    return [group[n] for n in rounds for group in by_procedure if n < len(group)][:wish.points]


def show(results: list[Result]) -> bool:
    """Prints the table; whether all is well."""
    print(f"\n{'procedure':15} {'points':>6} {'hit':>5} {'missed':>6} {'repeated':>8} {'breaches':>8}")
    for procedure in PROCEDURES:
        of = [result for result in results if result.point.procedure is procedure]
        if of:
            kills = Counter(result.kill for result in of)
            repeated = sum(result.repeats > 1 for result in of)
            print(f"{procedure.name:15} {len(of):6} {kills['hit']:5} {kills['missed']:6} {repeated:8} "
                  f"{sum(bool(result.breach) for result in of):8}")
    breaches = [result for result in results if result.breach]
    hits = sum(result.kill == "hit" for result in results)
    for result in breaches:
        print(f"\nBREACH {result.point.name}: {result.breach}\n  the command: {result.first}")
    print(f"\nmembers: {len(results)} points, {hits} hit, {len(breaches)} breaches")
    if hits < HITS_MIN * len(results):
        print(f"members: fewer than {HITS_MIN:.0%} were hit, which proves little")
        return False
    return not breaches


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=Path("target/debug/ratequeue"))
    parser.add_argument("--seed", type=int, default=1, help="which points, and how long victims stay away")
    parser.add_argument("--points", type=int, metavar="N",
                        help="so many that wait for a step, spread over the procedures; else all")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME",
                        help="these points: names, or patterns for them")
    parser.add_argument("--down", type=float, metavar="S", help="how long every victim stays away; else 0.1 to 2.5 s")
    parser.add_argument("--jobs", type=int, default=3, help="clusters at the same time")
    parser.add_argument("--keep", action="store_true", help="keep the folders of points that are breaches")
    parser.add_argument("--list", action="store_true", help="print the names of all points")
    return parser.parse_args()


def run_all(wish: argparse.Namespace, points: list[Point]) -> list[Result]:
    took = measure_all(wish.binary, points)
    results: list[Result] = []
    lock = threading.Lock()

    def run(point: Point) -> None:
        result = run_point(wish, point, took.get(point.procedure.name, 0.0))
        with lock:
            results.append(result)
            how = "BREACH" if result.breach else "ok"
            print(f"{len(results):4}/{len(points)} {result.seconds:5.1f} s {how:6} {point.name} ({result.kill}; "
                  f"the command: {result.first[:100]}; {result.repeats} more)", flush=True)

    with ThreadPoolExecutor(wish.jobs) as pool:
        try:
            list(pool.map(run, points))
        except BaseException:
            # Those that run take down their own clusters.
            pool.shutdown(cancel_futures=True)
            raise
    return results


def main() -> int:
    wish = arguments()
    end_on_signals()
    points = all_points()
    if wish.list:
        print("\n".join(point.name for point in points))
        return 0
    points = select(points, wish)
    wrong = "" if points else f"no point is called {' or '.join(wish.only)}: see --list"
    if not os.access(wish.binary, os.X_OK):
        wrong = f"{wish.binary} is not a program: run cargo build, or give --binary"
    if wrong:
        print(f"kill.py: {wrong}", file=sys.stderr)
        return 2
    try:
        results = run_all(wish, points)
    except Breach as breach:
        print(f"BREACH without any kill: {breach}")
        return 1
    except KeyboardInterrupt:
        return 130
    is_well = show(results)
    breaches = [result.point.name for result in results if result.breach]
    if breaches:
        down = f" --down {wish.down}" if wish.down else ""
        print(f"again: {sys.argv[0]} --seed {wish.seed}{down} --keep --only {' '.join(breaches)}")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
