"""The decisions of a group, from the dumps of all its nodes.

A dump begins at a checkpoint and ends where its node was stopped, and what its node did not know to be committed may
have been replaced since. So a dump covers the entries from its first one to its last committed one, and of those it
must say the same as any other dump: also of those that decided nothing, which are not in a dump at all.
"""
from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .records import Damaged, Folder
from .report import Check
from .world import World

# The beginning of a line as it is printed. There are so many that they are parsed only as far as needed; one of
# another form is parsed whole.
_LINE = re.compile(r'\{"index":(\d+),"term":\d+,"committed":(true|false),"time_us":\d+,"resource":"([^"\\]*)",'
                   r'"decision":"\w+"(?:,"lease":"([^".]*)\.)?')
_parse = json.JSONDecoder().raw_decode
# A group and an index.
_At = tuple[str, int]
# Differences that are described.
_DESCRIBED_MAX = 100


class Decision(NamedTuple):
    """What an entry decided. Refusals are compared, and not kept."""

    index: int
    time_us: int
    kind: str
    resource: str
    lease: str
    # The key of a lease that was queued or granted; the state of one that ended.
    said: str | None
    # The load of a grant; what an end gave back.
    amount: Any
    # The fencing token of a grant; the version of limits.
    number: int

    def __str__(self) -> str:
        return (f"entry {self.index}, {self.time_us} us: {self.kind} {self.resource} {self.lease} {self.said or ''} "
                f"{self.amount or ''} {self.number or ''}").rstrip()


class Group:
    """The merged log of one group."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: dict[int, tuple[Decision, ...]] = {}
        # Which entries are covered: first and last, in order, apart from one another.
        self.covered: list[tuple[int, int]] = []
        self.queued: dict[str, Decision] = {}
        self.granted: dict[str, Decision] = {}
        self.ended: dict[str, Decision] = {}

    def covers(self, first: int, last: int) -> bool:
        """Whether all entries of a span are known."""
        at = bisect_right(self.covered, (first, 1 << 62)) - 1
        return at >= 0 and self.covered[at][0] <= first and last <= self.covered[at][1]

    def spans(self) -> Iterator[tuple[bool, list[Decision]]]:
        """The decisions of each span without a gap; and whether it is one from the beginning of the log."""
        indexes = sorted(self.entries)
        for first, last in self.covered:
            inside = indexes[bisect_left(indexes, first):bisect_right(indexes, last)]
            yield first <= 1, [decision for index in inside for decision in self.entries[index]]

    def settle(self, covered: list[tuple[int, int]]) -> None:
        for first, last in sorted(covered):
            if self.covered and first <= self.covered[-1][1] + 1:
                self.covered[-1] = self.covered[-1][0], max(last, self.covered[-1][1])
            else:
                self.covered.append((first, last))
        tables = {"queued": self.queued, "granted": self.granted, "ended": self.ended}
        for index in sorted(self.entries):
            for decision in self.entries[index]:
                table = tables.get(decision.kind)
                if table is not None:
                    table.setdefault(decision.lease, decision)


class _Dump:
    """What one dump has of one group."""

    def __init__(self, file: str, first: int) -> None:
        self.file = file
        self.first = first
        self.last = first
        self.indexes: list[int] = []


class Merged:
    """The logs of all groups."""

    def __init__(self, folder: Folder, world: World) -> None:
        self.groups: dict[str, Group] = {}
        self.compared = 0
        self.without_group = 0
        self.different = 0
        self.differences: list[tuple[str, list[str]]] = []
        self._group_of = _groups_of_resources(world)
        # What was said first of each entry, as a number to compare, and by which dump; and where each line belongs.
        self._said: dict[_At, tuple[int, str]] = {}
        self._known: dict[int, _At] = {}
        dumps = [(name, dump) for path in folder.dumps for name, dump in self._read(folder, path).items()]
        for name, group in self.groups.items():
            own = [dump for of, dump in dumps if of == name]
            group.settle([(dump.first, dump.last) for dump in own])
            self._find_missing(group, own)
        self._said.clear()
        self._known.clear()

    def _read(self, folder: Folder, path: Path) -> dict[str, _Dump]:
        own: dict[str, _Dump] = {}
        file, known = path.name, self._known.get
        entry: list[str] = []
        is_committed = True
        before: _At | None = None
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                # Most lines are in other dumps too.
                at = known(hash(line))
                is_known = True
                if at is None:
                    try:
                        at, is_known = self._place(line)
                    except (ValueError, KeyError, TypeError) as error:
                        raise Damaged(f"{path}:{number}: {error!r}: {line[:120].strip()!r}") from error
                    if at is None:
                        self.without_group += 1
                        continue
                if at == before:
                    entry.append(line)
                    is_committed = is_committed and is_known
                    continue
                if before is not None and is_committed:
                    self._take(own, file, before, entry)
                before, entry, is_committed = at, [line], is_known
        if before is not None and is_committed:
            self._take(own, file, before, entry)

        for verdict in folder.verdict_of(path):
            dump = own.get(verdict.get("group", ""))
            if dump is not None:
                dump.first = min(dump.first, verdict.get("first_index", dump.first))
        return own

    def _place(self, line: str) -> tuple[_At | None, bool]:
        """The group and the index of a decision, and whether it is known to be committed."""
        match = _LINE.match(line)
        if match is not None and line.endswith("}\n"):
            index, committed, resource, group = match.groups()
            group = group or self._group_of.get(resource)
            return None if group is None else (group, int(index)), committed == "true"
        record = json.loads(line)
        lease, resource = record.get("lease"), record["resource"]
        group = lease.partition(".")[0] if lease else self._group_of.get(resource)
        return None if group is None else (group, record["index"]), bool(record["committed"])

    def _take(self, own: dict[str, _Dump], file: str, at: _At, lines: list[str]) -> None:
        """Takes a committed entry of a dump, or compares it with the one that there is."""
        name, index = at
        dump = own.get(name)
        if dump is None:
            dump = own[name] = _Dump(file, index)
        if index > dump.last:
            dump.last = index
        dump.indexes.append(index)

        said = hash(lines[0]) if len(lines) == 1 else hash(tuple(lines))
        first = self._said.get(at)
        if first is None:
            self._said[at] = said, file
            for line in lines:
                self._known[hash(line)] = at
            group = self.groups.setdefault(name, Group(name))
            group.entries[index] = tuple(filter(None, map(_decision, lines)))
            return
        self.compared += 1
        if first[0] != said:
            shown = self.groups[name].entries[index][:4]
            self._differ(f"{name}: the entry {index} of {file} is another one than that of {first[1]}",
                         [*map(str, shown), *(line.strip() for line in lines[:4])])

    def _find_missing(self, group: Group, dumps: list[_Dump]) -> None:
        indexes = sorted(group.entries)
        for dump in dumps:
            meant = indexes[bisect_left(indexes, dump.first):bisect_right(indexes, dump.last)]
            if len(meant) == len(dump.indexes):
                continue
            for index in sorted(set(meant) - set(dump.indexes)):
                shown = [str(decision) for decision in group.entries[index][:4]]
                other = self._said[group.name, index][1]
                self._differ(f"{group.name}: the entry {index} of {other} decided something, and that of {dump.file} "
                             "nothing", shown)

    def _differ(self, text: str, shown: list[str]) -> None:
        self.different += 1
        if len(self.differences) < _DESCRIBED_MAX:
            self.differences.append((text, shown))


def agree(merged: Merged) -> Check:
    result = Check("agree", "entries twice or more")
    result.looked = merged.compared
    result.skipped, result.why_skipped = merged.without_group, "decisions whose group is not known"
    for text, shown in merged.differences:
        result.violate(text, *shown)
    result.found = merged.different
    return result


def _decision(line: str) -> Decision | None:
    record, _ = _parse(line)
    kind, index, time_us = record["decision"], record["index"], record["time_us"]
    resource, lease = record["resource"], record.get("lease", "")
    if kind == "granted":
        return Decision(index, time_us, kind, resource, lease, record.get("request"), record.get("load"),
                        record["fencing_token"])
    if kind == "queued":
        return Decision(index, time_us, kind, resource, lease, record.get("request"), None, 0)
    if kind == "ended":
        return Decision(index, time_us, kind, resource, lease, record["state"], record.get("refunded") or None, 0)
    if kind == "refused":
        return None
    return Decision(index, time_us, kind, resource, "", None, None, record.get("version", 0))


def _groups_of_resources(world: World) -> dict[str, str]:
    """Which group decides a resource: that of its leases, or where it was put."""
    groups: dict[str, str] = {}
    for resource, changes in world.limits.changes.items():
        for change in changes:
            if change.spec and change.spec.get("placement"):
                groups[resource] = change.spec["placement"]
    for lease in world.leases.values():
        if lease.resource is not None:
            groups[lease.resource] = lease.group
    return groups
