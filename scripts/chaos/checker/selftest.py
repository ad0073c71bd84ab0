#!/usr/bin/env python3
"""Tries the checker itself: selftest.py [--million] [--seed N], in less than 20 s. Exit code 0 when all is well.

A run without a fault, from a simulated limiter, must be clean, whatever the seed. Then one violation of each kind is
planted, and the check that is meant for it must find it, and no other. --million measures a million operations.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from checker import Damaged, Report, check, log_plants
from checker.plants import PLANTS
from checker.simulate import MS, Record, Run, Simulation

_OPERATIONS = 1_500
_CLEAN_SEEDS = 6
_MILLION = 1_000_000
_TILES = 20


class Wrong(Exception):
    """What was expected, and what was there."""


def expect(true: bool, what: str) -> None:
    if not true:
        raise Wrong(what)


def found_by(report: Report) -> list[str]:
    return [one.name for one in report.checks if one.found] + ["weak"] * bool(report.weak)


def check_clean(folder: Path, seed: int) -> None:
    run = Simulation(seed, _OPERATIONS).run()
    # Which limits are reached in a run this short is a matter of chance.
    run.run["notes"]["must_bind"] = []
    run.write(folder)
    report = check(folder)
    expect(report.is_good, f"seed {seed} is not clean:\n{report.as_text()}")


def check_repeated(folder: Path, clean: Run) -> None:
    """A fault that shows often is counted, and described now and then."""
    run = clean.copy()
    run.logs[2, 1] = [record | {"term": 7} for record in run.logs[2, 1]]
    run.write(folder)
    report = check(folder)
    found = {one.name: one for one in report.checks}["agree"]
    expect(found.found > len(found.violations) == 100, f"{found.found} are found, {len(found.violations)} described")
    expect(len(report.as_text()) < 20_000, "a report that nobody reads")


def check_plants(folder: Path, clean: Run) -> int:
    clean.write(folder)
    before = clean
    for name, what, put in PLANTS:
        run = clean.copy()
        put(run)
        run.write(folder, before)
        before = run
        report = check(folder)
        found = found_by(report)
        expect(found == [name], f"{name}: {what}: found by {found}\n{report.as_text()}")
    names = {name for name, _, _ in PLANTS}
    expect("verify" in names, f"{log_plants.__name__} plants nothing")
    missing = {one.name for one in report.checks} - names
    expect(not missing, f"nothing is planted for {missing}")
    return len(PLANTS)


def check_looked(folder: Path, clean: Run) -> None:
    """No check is clean for want of something to look at."""
    clean.write(folder)
    idle = [one.name for one in check(folder).checks if not one.looked]
    expect(not idle, f"{idle} looked at nothing")


def check_files(folder: Path, clean: Run) -> None:
    """A history may be torn at its end, and nowhere else."""
    clean.write(folder)
    torn = folder / "history-7.jsonl"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:-25])
    expect(check(folder).violations == 0, "a torn end is a violation")

    lines = whole.splitlines(keepends=True)
    damages = {"torn": lines[5][:-9] + b"\n", "no object": b"[]\n", "empty": b"\n", "no call": b"{}\n"}
    for what, line in damages.items():
        torn.write_bytes(b"".join([*lines[:5], line, *lines[6:]]))
        try:
            check(folder)
        except Damaged as damage:
            expect("history-7.jsonl:6" in str(damage), f"a line that is {what} is told without its place: {damage}")
        else:
            raise Wrong(f"a line that is {what} was taken")


def tiled(run: Run, tiles: int) -> Run:
    """The same run again and again, one after the other, on other resources."""
    length = run.run["ended"] - run.run["begun"] + 1_000 * MS
    last = {group: max(record["index"] for records in run.logs.values() for record in records
                       if (record["resource"] == "all") == (group == "global")) for group in ("eu", "global")}
    result = Run(run.run, {}, {}, run.verdicts, run.faults, run.final)
    for nth in range(tiles):
        for client, records in run.histories.items():
            own = result.histories.setdefault(client, [])
            own += [_moved(record, nth, nth * length, last, len(records)) for record in records]
    for group in ("eu", "global"):
        whole = _whole_log(run, group)
        moved = [_moved_decision(record, nth, nth * length // 1_000, last[group])
                 for nth in range(tiles) for record in whole]
        for node, part in run.logs:
            # A dump begins where another tile does, so no entry is cut.
            low, high = ((0, tiles * 6 // 10), (tiles * 4 // 10, tiles))[part]
            result.logs.setdefault((node, part), []).extend(moved[low * len(whole):high * len(whole)])
    run.run["notes"]["must_bind"] = []
    return result


def _whole_log(run: Run, group: str) -> list[Record]:
    early, late = ([record for record in run.logs[1, part] if (record["resource"] == "all") == (group == "global")]
                   for part in (0, 1))
    return early + [record for record in late if record["index"] > early[-1]["index"]]


def _moved(record: Record, nth: int, by_ns: int, last: dict[str, int], calls: int) -> Record:
    moved = record | {"n": record["n"] + nth * calls}
    for name in ("at", "until"):
        if name in record:
            moved[name] = record[name] + by_ns
    for name in ("resource", "key", "lease"):
        if name in record:
            moved[name] = f"{record[name]}-{nth}"
    if "index" in record:
        is_global = record.get("lease", "eu").startswith("global")
        moved["index"] = record["index"] + nth * last["global" if is_global else "eu"]
    return moved


def _moved_decision(record: Record, nth: int, by_us: int, last: int) -> Record:
    moved = record | {"index": record["index"] + nth * last, "time_us": record["time_us"] + by_us,
                      "resource": f"{record['resource']}-{nth}"}
    for name in ("lease", "request"):
        if name in record:
            moved[name] = f"{record[name]}-{nth}"
    return moved


def check_million(folder: Path) -> str:
    run = Simulation(1, _MILLION // _TILES).run()
    tiled(run, _TILES).write(folder)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{size:.0f} MB are written", flush=True)
    begun, cpu = time.monotonic(), time.process_time()
    report = check(folder)
    seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
    print(report.as_text())
    expect(report.is_good, "a million operations are not clean")
    return f"{report.operations} operations: {seconds:.1f} s, {cpu:.1f} s of a core"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--million", action="store_true", help="measure a million operations too")
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    wish = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="checker-") as name:
            folder = Path(name) / "run"
            for seed in range(wish.seed, wish.seed + _CLEAN_SEEDS):
                check_clean(folder, seed)
            print(f"{_CLEAN_SEEDS} runs without a fault are clean", flush=True)
            clean = Simulation(wish.seed, _OPERATIONS).run()
            clean.run["notes"]["must_bind"] = ["slots"]
            check_looked(folder, clean)
            check_files(folder, clean)
            check_repeated(folder, clean)
            print(f"{check_plants(folder, clean)} planted violations are found, each by its check", flush=True)
            if wish.million:
                print(check_million(folder))
    except Wrong as wrong:
        print(f"selftest: {wrong}")
        return 1
    print("selftest: all is well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
