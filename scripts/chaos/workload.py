"""What the clients of a run do: the resources, how they are used, and how many callers a second there are."""
from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Range = tuple[int, int]


@dataclass(frozen=True)
class Resource:
    """One resource, and what its callers ask of it."""

    name: str
    placement: str
    limits: dict[str, dict[str, Any]]
    load: Range = (1, 1)
    wait_ms: Range = (500, 8_000)
    ttl_ms: Range = (1_500, 4_000)
    hold_ms: Range = (50, 600)
    has_priorities: bool = False
    # Callers say at the release how much they have used.
    is_corrected: bool = False

    def spec(self) -> dict[str, Any]:
        return {"placement": self.placement, "limits": self.limits,
                "queue": {"max_waiting": 2_000, "max_wait_ms": 60_000},
                "lease": {"default_ttl_ms": 2_000, "max_ttl_ms": 3_600_000}}


@dataclass(frozen=True)
class Workload:
    """Everything that a client has to know."""

    # Callers a second of one client.
    rate: float
    places: dict[int, str]
    # The nodes of each region.
    regions: dict[str, list[int]]
    resources: list[Resource]

    def near(self, resource: Resource) -> list[int]:
        return self.regions.get(resource.placement) or list(self.places)


def write(load: Workload, path: Path) -> None:
    """Whole at any time: clients read it again when it has changed."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(load), indent=1))
    new.replace(path)


def read(path: Path) -> Workload:
    read = json.loads(path.read_text())
    ranges = ("load", "wait_ms", "ttl_ms", "hold_ms")
    resources = [Resource(**(each | {name: tuple(each[name]) for name in ranges})) for each in read["resources"]]
    places = {int(node): place for node, place in read["places"].items()}
    return Workload(read["rate"], places, read["regions"], resources)


def usual(placement: str, prefix: str = "") -> list[Resource]:
    """One resource of each kind of limit. Each is asked for more than it admits, so that every limit binds."""
    concurrency = {"kind": "concurrency", "quota": 8}
    window = {"kind": "rate", "algorithm": "sliding_window", "quota": 30, "window_ms": 2_000}
    bucket = {"kind": "rate", "algorithm": "token_bucket", "quota": 30, "window_ms": 1_000, "burst": 40, "cost": "load"}
    return [
        Resource(f"{prefix}slots", placement, {"slots": concurrency}),
        Resource(f"{prefix}weights", placement, {"slots": concurrency | {"quota": 20, "cost": "load"}}, load=(1, 6)),
        Resource(f"{prefix}window", placement, {"rpm": window}, hold_ms=(5, 100)),
        Resource(f"{prefix}bucket", placement, {"tpm": bucket}, load=(1, 5), hold_ms=(5, 100), is_corrected=True),
        Resource(f"{prefix}line", placement, {"slots": concurrency | {"quota": 1}, "rpm": window}, hold_ms=(20, 150),
                 has_priorities=True),
    ]
