"""The checker of histories: reads the folder of a run, and finds what contradicts the promises of docs/guarantees.md.

It shares nothing with the server but the form of its answers, and trusts no clock of a server: what a client saw is
judged by the clients' clock, what a log says by the log alone. Every inference holds for calls whose outcome is
unknown, too: a finding is a fault, and no finding is a matter of luck.

    records.py    the files of a folder
    world.py      calls, put together by lease and by key, and what follows for certain from each
    limits.py     the limits that can have been in force
    held.py       held             how much is held at once
    rate.py       rate             how much is admitted in a window, and by a bucket
    leases.py     token once release place
    order.py      order expiry waits
    logs.py       agree            the decisions of all dumps, merged
    told.py       told             what clients were told is in the logs
    recount.py    log-held log-rate log-token log-once log-expiry
    end.py        verify final     and progress: whether the run did enough to mean anything
    selftest.py   plants a violation of each kind and demands that it is found
"""
from __future__ import annotations

import gc
from pathlib import Path

from . import end, held, leases, logs, order, rate, recount, told
from .records import Damaged, Folder
from .report import Check, Report
from .world import World

__all__ = ["Check", "Damaged", "Report", "check"]


def check(folder: Path) -> Report:
    """All checks of a run. Raises Damaged when a file is not what it should be."""
    # There are no cycles among millions of records, and looking for them takes half of the time.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return _check(Folder(folder))
    finally:
        if was_enabled:
            gc.enable()


def _check(folder: Folder) -> Report:
    world = World(folder)
    merged = logs.Merged(folder, world)
    report = Report()
    report.checks += [held.check(world), rate.check(world)]
    report.checks += leases.checks(world)
    report.checks += order.checks(world)
    report.checks += [logs.agree(merged), told.check(world, merged)]
    report.checks += recount.checks(world, merged)
    report.checks += [end.verify(folder), end.final(folder)]
    end.count(report, world)
    end.progress(report, folder, world, merged)
    return report
