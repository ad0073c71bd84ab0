"""One run: a cluster, clients, faults one after another, and the judgement."""
from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checker import Report, check
from disks import Disk
from layout import Layout
from scenarios import ONE_REGION, Scenario
from stage import Caller, Failed, Nodes, NotInstalled, Stage, lan, net
from workload import Resource, Workload, usual

_CLIENTS = 4
_RTT_MS = 40.0
# Before the first fault: the limits bind by then.
_WARM_S = 1.5
# What is said of the time of an answer may be wrong by this, and by what the clients were late.
_MARGIN_MS = 300
# However long each takes.
_FAULTS_MIN = 2
_BETWEEN_S = (0.3, 1.5)
# After the faults, a fresh acquire and release has to come through every node within this.
_HEALED_MAX_S = 10.0
_FRESH = Resource("fresh", "", {"slots": {"kind": "concurrency", "quota": 5_000}})
_BALLAST_TTL_MS = 3_600_000


@dataclass
class Result:
    """What a run did, and what was found."""

    scenario: str
    seed: int
    folder: Path
    faults: int = 0
    gap_max_ms: int = 0
    report: Report = field(default_factory=Report)
    violations: list[str] = field(default_factory=list)
    # The run did too little to prove anything.
    weak: list[str] = field(default_factory=list)
    again: str = ""

    def is_ok(self) -> bool:
        return not self.violations and not self.weak


def perform(scenario: Scenario, binary: Path, folder: Path, seed: int, seconds: float) -> Result:
    """A whole run. What the cluster did wrong is in the result; `Failed` means that the run itself broke off."""
    result = Result(scenario.name, seed, folder, gap_max_ms=scenario.gap_max_ms)
    with staged(scenario, binary, folder, random.Random(f"{scenario.name} {seed}")) as stage:
        stage.begin_clients(workload_of(scenario, stage), _CLIENTS, seed)
        lay_ballast(stage, scenario.ballast)
        begun = time.monotonic_ns()
        terms = _terms(stage)
        time.sleep(_WARM_S)
        result.faults = strike_all(scenario, stage, seconds)
        ended = time.monotonic_ns()
        heal(stage)
        stage.end_clients()
        write(folder / "final.json", final(stage))
        if scenario.changes_leaders and _terms(stage) == terms:
            result.weak.append("no leader changed")
        result.violations += stage.breaches
        lag_ms = max((int(path.read_text() or 0) for path in folder.glob("lag-*")), default=0)
        notes = {"margin_ms": _MARGIN_MS + lag_ms, "least_ok": int(scenario.rate * seconds / 4),
                 "must_bind": [resource.name for resource in stage.load.resources if resource.name != _FRESH.name]}
        write(folder / "run.json", {"scenario": scenario.name, "seed": seed, "regions": stage.regions, "begun": begun,
                                    "ended": ended, "notes": notes})
        stage.kill(*stage.ids)
        for number in stage.ids:
            stage.harvest(number)
    dump_logs(binary, folder)
    judge(result, check(folder))
    return result


def judge(result: Result, report: Report) -> None:
    result.report = report
    result.violations += [f"{each.name}: {text}" for each in report.checks for text in each.violations[:3]]
    result.weak += report.weak
    if report.longest_gap_ms > result.gap_max_ms:
        result.violations.append(f"for {report.longest_gap_ms:.0f} ms no call succeeded; {result.gap_max_ms} ms are the most "
                                 "that these faults may cost")


@contextlib.contextmanager
def staged(scenario: Scenario, binary: Path, folder: Path, dice: random.Random) -> Iterator[Stage]:
    """Within it, a cluster runs in a network of its own. After it nothing runs, and its folder is left."""
    with network(scenario) as plan:
        nodes = Nodes(binary, plan, folder, list(range(1, scenario.nodes + 1)) if scenario.strangers else None)
        nodes.checkpoint_interval = scenario.checkpoint_interval
        nodes.disks = {number: Disk(folder, number) for number in range(1, plan.nodes + 1)} if scenario.has_disks else {}
        try:
            nodes.start()
            stage = Stage(nodes, folder, dice)
            try:
                yield stage
            finally:
                stage.abandon_clients()
        finally:
            for process in nodes.processes.values():
                process.kill()
                process.wait()
            for disk in nodes.disks.values():
                disk.remove()


@contextlib.contextmanager
def network(scenario: Scenario) -> Iterator[Any]:
    tag = f"ch{os.getpid()}"
    if scenario.regions == ONE_REGION:
        plan = lan.up(tag, scenario.nodes + scenario.strangers)
        try:
            yield plan
        finally:
            lan.down(tag)
    else:
        state = net.up(tag, scenario.regions, 3, _RTT_MS, os.getpid())
        try:
            yield Layout.from_json(state)
        finally:
            net.down(tag)


def workload_of(scenario: Scenario, stage: Stage) -> Workload:
    resources: list[Resource] = []
    if scenario.regions == ONE_REGION:
        [region] = stage.regions
        resources = usual(region)
    else:
        for region in stage.regions:
            resources += usual(region, f"{region}.")[:2]
        resources.append(Resource("world", "global", {"slots": {"kind": "concurrency", "quota": 4}}))
    fresh = Resource(_FRESH.name, next(iter(stage.regions)), _FRESH.limits)
    return Workload(scenario.rate / _CLIENTS, {}, {}, [*resources, fresh])


def lay_ballast(stage: Stage, count: int) -> None:
    caller = Caller(stage.node(stage.leader()).http)
    for number in range(count):
        metadata = {f"m{n}": f"{number:08}" * 12 for n in range(8)}
        caller.call("POST", f"/v1/resources/{_FRESH.name}/acquire", {"ttl_ms": _BALLAST_TTL_MS, "metadata": metadata})
    caller.close()


def strike_all(scenario: Scenario, stage: Stage, seconds: float) -> int:
    """Faults from a shuffled deck, until the time is over; how many there were."""
    until = time.monotonic() + seconds
    count = 0
    while time.monotonic() < until or count < _FAULTS_MIN:
        name = stage.deal("faults", list(scenario.faults))
        fault = importlib.import_module(f"faults.{name}")
        at, confirmed, detail = time.monotonic_ns(), True, {}
        try:
            detail = fault.strike(stage)
        except NotInstalled as missing:
            confirmed, detail = False, {"missing": str(missing)}
        stage.note_fault(fault=name, at=at, until=time.monotonic_ns(), confirmed=confirmed, detail=detail)
        count += 1
        stage.hold(*_BETWEEN_S)
    return count


def heal(stage: Stage) -> None:
    stage.heal()
    stage.start(*sorted(stage.down))
    stage.wait_ready()


def final(stage: Stage) -> dict[str, Any]:
    """How the cluster is after it was healed: one leader a group, one state, work through every node."""
    through = [number for number in stage.ids if _works(stage, number)]
    end = time.monotonic() + _HEALED_MAX_S
    while True:
        views = {number: stage.nodes.get(stage.node(number), "/v1/cluster")[1] for number in stage.ids}
        digests: dict[str, dict[str, str]] = {}
        leaders: dict[str, list[int]] = {}
        for number, view in views.items():
            for group, state in view["groups"].items():
                digests.setdefault(group, {})[str(number)] = state["digest"]
                leaders.setdefault(group, [])
                if state["role"] == "leader":
                    leaders[group].append(number)
        is_one = all(len(set(of.values())) == 1 for of in digests.values()) and all(len(of) == 1 for of in leaders.values())
        if is_one or time.monotonic() > end:
            return {"digests": digests, "leaders": {group: of[0] if len(of) == 1 else of for group, of in leaders.items()},
                    "through": through}
        time.sleep(0.2)


def _works(stage: Stage, number: int) -> bool:
    """A fresh acquire and release through a node."""
    caller = Caller(stage.node(number).http, _HEALED_MAX_S)
    end = time.monotonic() + _HEALED_MAX_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError):
            status, lease = caller.call("POST", f"/v1/resources/{_FRESH.name}/acquire", {})
            if status == 200 and caller.call("POST", f"/v1/leases/{lease['id']}/release", {})[0] == 200:
                return True
        time.sleep(0.2)
    return False


def _terms(stage: Stage) -> dict[str, int]:
    terms: dict[str, int] = {}
    for number in stage.ids:
        with contextlib.suppress(OSError, ValueError):
            for group, state in stage.nodes.get(stage.node(number), "/v1/cluster")[1]["groups"].items():
                terms[group] = max(terms.get(group, 0), state["term"])
    return terms


def dump_logs(binary: Path, folder: Path) -> None:
    """What the logs say, of every folder that was kept."""
    for copy in sorted((folder / "harvest").iterdir()):
        for command, name in ((["log", "dump"], f"log-{copy.name}.jsonl"), (["verify-log"], f"verify-{copy.name}.json")):
            with (folder / name).open("wb") as output:
                done = subprocess.run([str(binary), *command, "--data", str(copy), "--json"], stdout=output,
                                      stderr=subprocess.PIPE)
            if done.returncode not in (0, 1):
                raise Failed(f"{' '.join(command)} of {copy} has ended with {done.returncode}: {done.stderr.decode()}")
        shutil.rmtree(copy)


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))
