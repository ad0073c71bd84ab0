"""What holds in a cluster before and after a procedure: who is in it, what can be acquired, and what is held."""
from __future__ import annotations

import json
import time
from typing import Any

from nodes import GLOBAL, Breach, Cluster, View, eventually
from procedures import global_voters, losses

# Long: a machine that is busy elects late. What is stuck stays so.
_SETTLE_MAX_S = 120.0
_GRANT_MAX_S = 60.0
_ONE_SLOT = {"slots": {"kind": "concurrency", "quota": 1}}
_TTL_MS = 900_000

Leases = dict[str, str]


def settled_faults(cluster: Cluster) -> list[str]:
    """What is not as the file has it: one cluster, one group a region, every vote in its place, nothing under way."""
    nodes = sorted(cluster.regions)
    views = cluster.views(nodes)
    faults = [f"node {node} does not answer" for node in nodes if node not in views]
    ids = {view["cluster_id"] for view in views.values()}
    if len(ids) != 1 or None in ids:
        faults.append(f"the nodes are part of {len(ids)} clusters: {sorted(map(str, ids))}")
    regions = {name: cluster.nodes_of(name) for name in sorted(set(cluster.regions.values()))}
    for node, view in views.items():
        book = {name: [each["id"] for each in region["nodes"]] for name, region in view["regions"].items()}
        if book != regions:
            faults.append(f"node {node} has the members {book}")
        if view["changes"] or view["founding"]:
            faults.append(f"node {node} has {view['changes'] or 'a founding'} under way")
    for name, members in regions.items():
        faults += _group_faults(views, name, members, members)
    return faults + _group_faults(views, GLOBAL, nodes, global_voters(regions))


def _group_faults(views: dict[int, View], name: str, members: list[int], voters: list[int]) -> list[str]:
    groups = {node: view["groups"].get(name) for node, view in views.items() if node in members}
    faults = [f"node {node} is not in group {name}" for node, group in groups.items() if group is None]
    groups = {node: group for node, group in groups.items() if group is not None}
    learners = sorted(set(members) - set(voters))
    for node, group in groups.items():
        if group["voters"] != voters or group["learners"] != learners or not group["settled"]:
            settled = "" if group["settled"] else ", not settled"
            faults.append(f"node {node} has in group {name} the voters {group['voters']} and the learners "
                          f"{group['learners']}{settled}, not {voters} and {learners}")
    leaders = {(group["leader"], group["term"]) for group in groups.values()}
    if len(leaders) != 1 or any(leader is None for leader, _ in leaders):
        faults.append(f"group {name} has as leaders, in terms: {sorted(map(str, leaders))}")
    by_index: dict[int, set[str]] = {}
    for group in groups.values():
        by_index.setdefault(group["applied_index"], set()).add(group["digest"])
    return faults + [f"group {name} has two states at index {index}"
                     for index, digests in by_index.items() if len(digests) > 1]


def is_settled(cluster: Cluster) -> None:
    found: list[str] = []

    def none() -> bool:
        found[:] = settled_faults(cluster)
        return not found

    try:
        eventually("the cluster is as it should be", none, _SETTLE_MAX_S)
    except Breach:
        raise Breach(f"after {_SETTLE_MAX_S:.0f} s: " + "; ".join(found)) from None


def tolerated(cluster: Cluster) -> dict[str, int]:
    """How many losses each group tolerates."""
    found: dict[str, int] = {}
    for view in cluster.views(cluster.running()).values():
        for name, group in view["groups"].items():
            if group["role"] == "leader":
                found[name] = losses(len(group["voters"]))
    return found


def is_no_weaker(before: dict[str, int], after: dict[str, int]) -> None:
    weaker = [f"group {name} tolerated {count} and tolerates {after[name]}" for name, count in before.items()
              if after.get(name, count) < count]
    if weaker:
        raise Breach("fewer losses than before: " + "; ".join(weaker))


def _answered(cluster: Cluster, node: int, method: str, path: str, body: Any, wanted: tuple[int, ...]) -> Any:
    """Until it is answered so: 503 and no answer at all may pass, anything else does not."""
    until = time.monotonic() + _GRANT_MAX_S
    while True:
        status, answer = cluster.call(node, method, path, body)
        if status in wanted:
            return answer
        if status not in (0, 503) or time.monotonic() > until:
            raise Breach(f"{method} {path} at node {node} was answered {status}: {json.dumps(answer)}")
        time.sleep(0.1)


def create(cluster: Cluster, node: int, name: str, placement: str, limits: Any = None) -> None:
    body = {"placement": placement, "limits": limits or _ONE_SLOT}
    _answered(cluster, node, "PUT", f"/v1/resources/{name}", body, (200, 201))


def hold(cluster: Cluster, placements: list[str]) -> Leases:
    """Takes the only slot of a resource of each placement, for good."""
    held: Leases = {}
    for placement in placements:
        node, name = cluster.running()[0], f"kept-{placement}"
        create(cluster, node, name, placement)
        answer = _answered(cluster, node, "POST", f"/v1/resources/{name}/acquire", {"ttl_ms": _TTL_MS}, (200,))
        held[placement] = answer["id"]
    return held


def is_held(cluster: Cluster, leases: Leases) -> None:
    """Every node says that they are held, and nobody else gets their slots."""
    for placement, lease in leases.items():
        for node in cluster.running():
            state = _answered(cluster, node, "GET", f"/v1/leases/{lease}", None, (200, 404, 410)).get("state")
            if state != "held":
                raise Breach(f"node {node} says that the lease of kept-{placement} is {state}")
        # Its time to live has a maximum, which a long run exceeds.
        _answered(cluster, cluster.running()[0], "POST", f"/v1/leases/{lease}/extend", {"ttl_ms": _TTL_MS}, (200,))
        path = f"/v1/resources/kept-{placement}/acquire"
        if "id" in _answered(cluster, cluster.running()[0], "POST", path, {}, (200, 429)):
            raise Breach(f"the slot of kept-{placement} was given away a second time")


def is_at_work(cluster: Cluster) -> None:
    """In every region and in the global group resources are created, and acquired through every node."""
    for placement in [*sorted(set(cluster.regions.values())), GLOBAL]:
        name = f"new-{placement}"
        create(cluster, cluster.running()[-1], name, placement)
        for node in cluster.running():
            lease = _answered(cluster, node, "POST", f"/v1/resources/{name}/acquire", {}, (200,))["id"]
            _answered(cluster, node, "POST", f"/v1/leases/{lease}/release", {}, (200,))
