"""A run without a fault: clients of a perfect limiter, as their histories and its logs.

A client is a generator that yields for how long it sleeps, or which lease it waits for. Calls take their time, get
lost before or after they are decided, or are decided long after their client gave up.
"""
from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Generator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .limiter import BEGIN_NS, MS, RESOURCES, Limiter, Record, Steps

__all__ = ["MS", "Record", "Run", "Simulation"]


@dataclass
class Run:
    """The files of a run, before they are written."""

    run: Record
    histories: dict[int, list[Record]]
    # By node and number.
    logs: dict[tuple[int, int], list[Record]]
    verdicts: dict[tuple[int, int], list[Record]]
    faults: list[Record]
    final: Record

    def copy(self) -> Run:
        """A copy whose lists are its own; the records are shared, and must be replaced, not changed."""
        return Run(deepcopy(self.run), {name: list(one) for name, one in self.histories.items()},
                   {name: list(one) for name, one in self.logs.items()}, deepcopy(self.verdicts),
                   deepcopy(self.faults), deepcopy(self.final))

    def write(self, folder: Path, before: Run | None = None) -> None:
        """Writes all files; or, over those of another run, only the ones that differ."""
        folder.mkdir(parents=True, exist_ok=True)
        had, has = before._lines() if before else {}, self._lines()
        for name in had.keys() - has.keys():
            (folder / name).unlink()
        dump = json.JSONEncoder(separators=(",", ":")).encode
        for name, records in has.items():
            if had.get(name) != records:
                (folder / name).write_text("".join(dump(record) + "\n" for record in records))

    def _lines(self) -> dict[str, list[Any]]:
        files: dict[str, list[Any]] = {"run.json": [self.run], "faults.jsonl": self.faults}
        files |= {"final.json": [self.final]} if self.final else {}
        files |= {f"history-{client}.jsonl": records for client, records in self.histories.items()}
        files |= {f"log-{node}-{nth}.jsonl": records for (node, nth), records in self.logs.items()}
        files |= {f"verify-{node}-{nth}.json": [verdicts] for (node, nth), verdicts in self.verdicts.items()}
        return files


class Simulation(Limiter):
    """A run of so many calls."""

    def __init__(self, seed: int, operations: int, clients: int = 40) -> None:
        super().__init__(seed)
        self._left = operations
        self._clients = clients
        self.histories: dict[int, list[Record]] = {}

    def run(self) -> Run:
        self.go(self._put_all())
        for client in range(1, self._clients + 1):
            self.histories[client] = []
            self.at(self.now + 100 * MS, lambda client=client: self.go(self._client(client)))
        while self.events:
            self.now, _, action = heapq.heappop(self.events)
            action()
        return self._files()

    # The clients.

    def call(self, client: int, do: str, **what: Any) -> Generator[Any, None, Record]:
        """One call: its records, its way, its decision, its wait, and the way back."""
        self._left -= 1
        chance, records = self.chance, self.histories[client]
        n = len(records) + 1
        record = {"n": n, "at": self.now, "do": do, "node": chance.randint(1, 3), **what}
        records.append(record)
        yield self.awake(self.now + chance.randint(200_000, 3 * MS)) - self.now
        fate = chance.random()
        if fate < 0.02:
            # Lost on its way there; or late, and decided after its client gave up.
            if fate < 0.01 and do != "look":
                self.at(self.awake(self.now + chance.randint(1, 900) * MS), lambda: self._decided(do, record))
            answer: Record = {"outcome": "unknown"}
            yield chance.randint(1, 300) * MS
        else:
            answer = self._decided(do, record)
            span_ms = record.get("hold_ms") or (record.get("wait_ms") if do == "look" else 0)
            if answer.get("state") == "waiting" and span_ms:
                lease = self.leases[answer["lease"]]
                yield lease, span_ms * MS
                answer = self.look(lease) if do == "look" else self.shown(lease, answer.get("index", 0))
                yield self.awake(self.now) - self.now
            if chance.random() < 0.02:
                answer = {"outcome": "unknown"}
        yield chance.randint(200_000, 3 * MS)
        if chance.random() > 0.002:
            records.append({"n": n, "until": self.now, **answer})
        else:
            answer = {"outcome": "unknown"}
        return answer

    def _decided(self, do: str, record: Record) -> Record:
        if do == "look":
            return self.look(self.leases[record["lease"]])
        return getattr(self, do)(record)

    def _put_all(self) -> Steps:
        self.histories[0] = []
        for name, spec in RESOURCES.items():
            yield from self.call_surely(0, "put", resource=name, key=f"put-{name}", spec=spec)

    def call_surely(self, client: int, do: str, **what: Any) -> Generator[Any, None, Record]:
        """Repeats a call until its outcome is known."""
        while True:
            answer = yield from self.call(client, do, **what)
            if answer["outcome"] != "unknown":
                return answer

    def _client(self, client: int) -> Steps:
        chance = self.chance
        for job in itertools.count(1):
            if self._left <= 0:
                return
            if chance.random() < 0.01:
                quota = chance.randint(1, 4)
                yield from self.call_surely(client, "patch", resource="both", key=f"p{client}-{job}",
                                            limits={"slots": {"quota": quota}})
            name = chance.choice(list(RESOURCES))
            what = {"resource": name, "key": f"c{client}-{job}", "load": chance.randint(1, 4),
                    "priority": chance.choice([5, 5, 5, 2, 8]), "wait_ms": chance.choice([0, 300, 2_000]),
                    "hold_ms": chance.choice([50, 400]), "ttl_ms": chance.choice([400, 900, 2_000])}
            answer = yield from self.call_surely(client, "acquire", **what)
            lease = answer.get("lease")
            while answer.get("state") == "waiting" and chance.random() > 0.02:
                answer = yield from self.call_surely(client, "look", lease=lease, wait_ms=200)
            if answer.get("state") == "waiting":
                yield from self.call(client, "release", lease=lease)
            elif answer.get("state") == "held" and lease:
                yield from self._hold(client, what, lease)
            yield chance.randint(0, 8) * MS

    def _hold(self, client: int, what: Record, lease: str) -> Steps:
        chance = self.chance
        if chance.random() < 0.1:
            yield from self.call(client, "extend", lease=lease, ttl_ms=chance.choice([300, 1_500]))
        yield chance.randint(1, 90) * MS
        fate = chance.random()
        if fate < 0.05:
            yield from self.call(client, "acquire", **what)
        if fate < 0.12:
            # Its client has died, as far as the lease knows.
            yield chance.randint(1, 3_000) * MS
            yield from self.call(client, "look", lease=lease, wait_ms=0)
            if fate < 0.06:
                return
        used = {"used": chance.randint(0, what["load"])} if chance.random() < 0.3 else {}
        answer = yield from self.call_surely(client, "release", lease=lease, **used)
        if answer["outcome"] == "ok" and chance.random() < 0.1:
            yield from self.call(client, "release", lease=lease, **used)

    # The files.

    def _files(self) -> Run:
        ended = self.now
        decisions = {group: len(records) for group, records in self.log.items()}
        logs, verdicts = {}, {}
        for node in (1, 2, 3):
            for nth, (begin, end) in enumerate([(0.0, 0.6), (0.4, 1.0)]):
                records = []
                for group in ("eu", "global"):
                    low = int(begin * decisions[group])
                    records += _whole_entries(self.log[group], low, int(end * decisions[group]))
                logs[node, nth] = records
                verdicts[node, nth] = [{"group": group, "decisions": 1, "breaches": 0, "first_breaches": []}
                                       for group in ("eu", "global")]
        digests = {group: {str(node): f"{group}-digest" for node in (1, 2, 3)} for group in ("eu", "global")}
        run = {"scenario": "simulated", "seed": 0, "regions": {"eu": [1, 2, 3]}, "begun": BEGIN_NS, "ended": ended,
               "notes": {"least_ok": 100, "must_bind": ["slots", "window", "bucket"]}}
        faults = [{"fault": "stand still", "at": begin, "until": end, "confirmed": True, "detail": {}}
                  for begin, end in self.outages]
        final = {"digests": digests, "leaders": {"eu": 2, "global": 1}, "through": [1, 2, 3]}
        return Run(run, self.histories, logs, verdicts, faults, final)


def _whole_entries(records: list[Record], low: int, high: int) -> list[Record]:
    """A part of a log that cuts no entry."""
    while 0 < low < len(records) and records[low]["index"] == records[low - 1]["index"]:
        low -= 1
    while 0 < high < len(records) and records[high]["index"] == records[high - 1]["index"]:
        high += 1
    return records[low:high]
