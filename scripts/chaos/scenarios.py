"""The scenarios: where they take place, which faults they draw from, and what has to hold in them."""
from __future__ import annotations

from dataclasses import dataclass

ONE_REGION = 1
THREE_REGIONS = 3


@dataclass(frozen=True)
class Scenario:
    """What a run is made of."""

    name: str
    faults: tuple[str, ...]
    # The longest time in which no call of any client may have succeeded, in ms.
    gap_max_ms: int
    regions: int = ONE_REGION
    # Of one region; and those that may become its nodes in the run.
    nodes: int = 3
    strangers: int = 0
    # Each node's data lies on a file system of its own.
    has_disks: bool = False
    # The longest time between two checkpoints. What is older than two of them is in no log.
    checkpoint_interval: str = "1m"
    # Leases with much metadata that are held all the time, so that a snapshot takes a while.
    ballast: int = 0
    # Callers a second, of all clients.
    rate: float = 120.0
    # Leaders must have changed: the run does nothing else.
    changes_leaders: bool = False


SCENARIOS = {each.name: each for each in (
    Scenario("leaders", ("kill_leader", "voter_restart", "transfer_storm", "pause", "kill_any"), 6_000,
             changes_leaders=True),
    Scenario("crashes", ("kill_all", "rolling_kill", "rolling_restart", "kill_any"), 10_000, changes_leaders=True),
    Scenario("cuts", ("one_way", "minority", "bridge", "rejoin", "long_cut"), 6_000, changes_leaders=True),
    Scenario("loss", ("loss", "kill_any", "minority"), 10_000),
    Scenario("power", ("power_cut",), 12_000, has_disks=True),
    Scenario("disks", ("full_disk", "slow_disk", "failed_fsync", "power_cut"), 12_000, has_disks=True),
    Scenario("damage", ("damage",), 6_000, checkpoint_interval="2s"),
    Scenario("clocks", ("clocks", "pause"), 8_000),
    Scenario("clients", ("dead_clients", "limits_change", "kill_leader"), 6_000),
    Scenario("snapshots", ("snapshot",), 10_000, checkpoint_interval="1s",
             ballast=800),
    Scenario("five", ("kill_two", "rolling_kill"), 8_000, nodes=5, changes_leaders=True),
    Scenario("members", ("replace", "grow", "kill_leader"), 8_000, strangers=12),
    Scenario("versions", ("older_version", "kill_leader"), 8_000),
    Scenario("regions", ("cut_region", "cut_regions", "kill_region", "distance", "global_leader"), 8_000,
             regions=THREE_REGIONS, rate=90.0),
)}

# What `make chaos` runs: a few of each kind, for seconds each.
SHORT = ("leaders", "cuts", "power", "clients", "snapshots", "regions")
