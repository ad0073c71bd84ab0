"""What the clients of a run write down: the record of a call before it is made, and another once it has an outcome.

A history is a file of JSON objects, a line each, appended without a buffer: a client that is killed has written what it
did. All times are nanoseconds of CLOCK_MONOTONIC, which every process of one machine shares.

    {"n": 7, "at": 1500, "do": "acquire", "node": 2, "resource": "slots", "key": "c1-7", "load": 3, "priority": 5,
     "wait_ms": 3000, "ttl_ms": 2000}
    {"n": 7, "until": 9100, "outcome": "ok", "status": 200, "lease": "eu.5-0", "state": "held", "token": 17,
     "index": 123, "expires_in_ms": 1990, "charged": {"slots": 3}}

`n` counts within a file. `do` is one of

    acquire   resource, key, load, priority, wait_ms, ttl_ms, hold_ms. The same key again is the same request again.
    release   lease, used (a number, or absent)
    extend    lease, ttl_ms
    look      lease, wait_ms: GET of the lease
    patch     resource, key, limits: {name: {"quota": n}}
    put       resource, key, spec: the whole resource, as in the API

`outcome` is one of

    ok        a 2xx answer. What it says stands beside it: lease, state, token, index, expires_in_ms, charged, position,
              refunded, debited, version; each only if the answer has it. `index` is the RateQueue-Log-Index of a write,
              or the log_index of the body.
    refused   for certain nothing was granted or changed: a 4xx, or a 503 or 507 that says that nothing happened. `code`
              is that of the problem; `state` of the lease if it says one.
    unknown   it may have happened: a broken connection, no answer in time, `unknown-outcome`.

A call without a second record was broken off with its client, and is unknown too.

Beside the histories, the folder of a run has

    run.json             {"scenario", "seed", "regions": {"eu": [1, 2, 3]}, "begun", "ended": ns, "notes": {...}}
    faults.jsonl         {"fault": "kill leader", "at": ns, "until": ns, "confirmed": true, "detail": {...}} a line each
    history-N.jsonl      of client N
    log-NODE-K.jsonl     what `ratequeue log dump --json` printed of a node's folder, K = 0, 1, ... as the run went on
    verify-NODE-K.json   what `ratequeue verify-log --json` printed of the same
    final.json           {"digests": {"eu": {"1": "..."}}, "leaders": {"eu": 2}, "through": [1, 2, 3]} after the faults
"""
from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class History:
    """The history of one client, being written."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._count = 0

    def call(self, do: str, **what: Any) -> int:
        """Notes that a call is about to be made; its number."""
        self._count += 1
        self._write({"n": self._count, "at": time.monotonic_ns(), "do": do, **what})
        return self._count

    def outcome(self, n: int, outcome: str, **what: Any) -> None:
        """Notes what became of a call."""
        until = time.monotonic_ns()
        self._write({"n": n, "until": until, "outcome": outcome, **{k: v for k, v in what.items() if v is not None}})

    def _write(self, record: Record) -> None:
        os.write(self._file, json.dumps(record, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        os.close(self._file)
