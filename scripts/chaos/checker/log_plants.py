"""Violations that are planted into the logs and the files of the end: into all dumps alike, unless it is that they
differ; and what makes a run weak.
"""
from __future__ import annotations

from typing import Callable

from .plants import SLOT, Hand, plant
from .simulate import Record, Run


def _in_all(run: Run, change: Callable[[list[Record]], list[Record]]) -> None:
    for name, records in run.logs.items():
        run.logs[name] = change(records)


def _append(run: Run, *decisions: Record) -> None:
    """Adds decisions of the region at the end of the last dumps, an entry each."""
    of_region = [record for record in run.logs[1, 1] if _group(record) == "eu"]
    last = of_region[-1]
    for (node, nth), records in list(run.logs.items()):
        if nth == 1:
            at = max(at for at, record in enumerate(records) if _group(record) == "eu") + 1
            added = [{"index": last["index"] + 1 + more, "term": 1, "committed": True,
                      "time_us": last["time_us"] + more, "resource": "wide", **decision}
                     for more, decision in enumerate(decisions)]
            run.logs[node, nth] = records[:at] + added + records[at:]


def _group(record: Record) -> str:
    return "global" if record["resource"] == "all" else "eu"


def _granted(lease: str, token: int, key: str | None = None, load: int = 1, **what: Any) -> Record:
    return {"decision": "granted", "lease": f"eu.log-{lease}", "request": key or f"key-{lease}", "load": load,
            "fencing_token": 1_000_000 + token, "waited_us": 0, **what}


def _ended(lease: str, state: str = "released", **what: Any) -> Record:
    return {"decision": "ended", "lease": f"eu.log-{lease}", "state": state, "refunded": {}, "debited": {}, **what}


def _told(run: Run, want: Callable[[Record], bool]) -> Record:
    """A decision of the first dumps about a lease that a client was told."""
    told = {record["lease"] for records in run.histories.values() for record in records
            if record.get("outcome") == "ok" and record.get("state") == "held" and record.get("index")}
    first = run.logs[1, 0]
    return next(record for record in first[len(first) // 4:] if record.get("lease") in told and want(record))


@plant("agree", "a node with another token")
def _(run: Run) -> None:
    nth = next(at for at, record in enumerate(run.logs[2, 0]) if record["decision"] == "granted" and at > 100)
    record = run.logs[2, 0][nth]
    run.logs[2, 0][nth] = record | {"fencing_token": record["fencing_token"] + 1}


@plant("agree", "a node that lacks an entry")
def _(run: Run) -> None:
    gone = run.logs[3, 1][200]["index"]
    run.logs[3, 1] = [record for record in run.logs[3, 1] if record["index"] != gone or _group(record) != "eu"]


@plant("agree", "a node with the decisions of an entry in another order")
def _(run: Run) -> None:
    records = run.logs[1, 1]
    nth = next(at for at in range(50, len(records)) if records[at]["index"] == records[at - 1]["index"])
    records[nth - 1], records[nth] = records[nth], records[nth - 1]


@plant("agree", "an entry with another term")
def _(run: Run) -> None:
    run.logs[2, 1][300] = run.logs[2, 1][300] | {"term": 2}


@plant("told", "a grant that is in no log")
def _(run: Run) -> None:
    gone = _told(run, lambda record: record["decision"] == "granted")["lease"]
    _in_all(run, lambda records: [record for record in records if record.get("lease") != gone])


@plant("told", "a grant to another key")
def _(run: Run) -> None:
    lease = _told(run, lambda record: record["decision"] == "granted")["lease"]
    _in_all(run, lambda records: [record | {"request": "another"} if record.get("lease") == lease and
                                  "request" in record else record for record in records])


@plant("told", "a release that is another end in the log")
def _(run: Run) -> None:
    lease = _told(run, lambda record: record.get("state") == "released" and _is_told_released(run, record))["lease"]
    _in_all(run, lambda records: [record | {"state": "lapsed"} if record.get("lease") == lease and
                                  record["decision"] == "ended" else record for record in records])


@plant("told", "a release that is in no log")
def _(run: Run) -> None:
    # Of a resource that has room for one that stays held.
    lease = _told(run, lambda record: record["resource"] == "wide" and record.get("state") == "released" and
                  _is_told_released(run, record))["lease"]
    _in_all(run, lambda records: [record for record in records if record.get("lease") != lease or
                                  record["decision"] != "ended"])


def _is_told_released(run: Run, record: Record) -> bool:
    return any(one.get("lease") == record["lease"] and one.get("state") == "released" and "index" in one and
               one.get("outcome") == "ok" for records in run.histories.values() for one in records)


@plant("log-held", "four of three slots")
def _(run: Run) -> None:
    _append(run, *(_granted(str(nth), nth, resource="slots") for nth in range(4)))


@plant("log-held", "loads beyond the units")
def _(run: Run) -> None:
    _append(run, _granted("a", 1, resource="heavy", load=6), _granted("b", 2, resource="heavy", load=4),
            _ended("a", resource="heavy"), _granted("c", 3, resource="heavy", load=7))


@plant("log-rate", "more than the window has")
def _(run: Run) -> None:
    _append(run, *(_granted(str(nth), nth, resource="window", load=4) for nth in range(6)))


@plant("log-rate", "a bucket that is emptied twice")
def _(run: Run) -> None:
    _append(run, *(_granted(str(nth), nth, resource="bucket", load=4) for nth in range(4)))


@plant("log-rate", "more than was given back is granted again")
def _(run: Run) -> None:
    _append(run, *(_granted(str(nth), nth, resource="window", load=5, time_us=90_000_000_000) for nth in range(4)),
            _ended("0", resource="window", refunded={"rpm": 2}, time_us=90_000_000_001),
            _granted("5", 5, resource="window", load=3, time_us=90_000_000_002))


@plant("log-token", "a lower token")
def _(run: Run) -> None:
    _append(run, _granted("a", 5), _granted("b", 4))


@plant("log-token", "the same token")
def _(run: Run) -> None:
    _append(run, _granted("a", 5), _granted("b", 5))


@plant("log-once", "a lease that is granted twice")
def _(run: Run) -> None:
    _append(run, _granted("a", 1), _granted("a", 2))


@plant("log-once", "a lease that ends twice")
def _(run: Run) -> None:
    _append(run, _granted("a", 1), _ended("a"), _ended("a", "expired"))


@plant("log-once", "a grant after the end")
def _(run: Run) -> None:
    _append(run, {"decision": "queued", "lease": "eu.log-a", "request": "key-a"}, _ended("a", "cancelled"),
            _granted("a", 1))


@plant("log-once", "two leases of one key")
def _(run: Run) -> None:
    _append(run, _granted("a", 1, key="same"), _ended("a"), _granted("b", 2, key="same"))


@plant("log-expiry", "a lease that expires early")
def _(run: Run) -> None:
    Hand(run, SLOT).acquire(10, None, "a", {}, ttl_ms=60_000)
    _append(run, _granted("a", 1, resource="by-hand"), _ended("a", "expired", resource="by-hand"))


@plant("log-expiry", "a wait that runs out early")
def _(run: Run) -> None:
    Hand(run, SLOT).acquire(10, None, "a", {}, wait_ms=5_000)
    queued = {"decision": "queued", "lease": "eu.log-a", "request": "key-a", "resource": "by-hand"}
    _append(run, queued, _ended("a", "timed_out", resource="by-hand"))


@plant("verify", "a breach")
def _(run: Run) -> None:
    run.verdicts[2, 1][0]["breaches"] = 1


@plant("verify", "a breach of the global group")
def _(run: Run) -> None:
    run.verdicts[3, 0][1] |= {"breaches": 2, "first_breaches": [{"index": 7, "resource": "all", "detail": "3 of 2"}]}


@plant("final", "different states")
def _(run: Run) -> None:
    run.final["digests"]["eu"]["3"] = "another"


@plant("final", "no leader")
def _(run: Run) -> None:
    del run.final["leaders"]["global"]


@plant("final", "a node that nothing went through")
def _(run: Run) -> None:
    run.final["through"] = [1, 3]


@plant("final", "a node without a state")
def _(run: Run) -> None:
    del run.final["digests"]["eu"]["1"]


# A run that did little.

@plant("weak", "too few calls that were ok")
def _(run: Run) -> None:
    run.run["notes"]["least_ok"] = 1_000_000


@plant("weak", "a fault that was not confirmed")
def _(run: Run) -> None:
    run.faults.append({"fault": "cut", "at": 1, "until": 2, "confirmed": False, "detail": {}})


@plant("weak", "a limit that was never reached")
def _(run: Run) -> None:
    run.run["notes"]["must_bind"].append("wide")


@plant("weak", "too many unknown outcomes")
def _(run: Run) -> None:
    hand = Hand(run, SLOT)
    for nth in range(400):
        hand.call(10 + nth, None, "acquire", {"resource": "by-hand", "key": f"lost-{nth}", "load": 1, "priority": 5,
                                              "wait_ms": 0, "hold_ms": 0, "ttl_ms": 1}, {})


@plant("weak", "no end")
def _(run: Run) -> None:
    run.final = {}
