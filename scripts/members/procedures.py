"""The procedures that change the members of a cluster, and the steps that each is seen to take."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from nodes import GLOBAL, View, leader_of

Views = dict[int, View]
Regions = dict[str, tuple[int, ...]]


def losses(voters: int) -> int:
    """How many of so many voters may be lost."""
    return (voters - 1) // 2


def global_voters(regions: dict[str, list[int]]) -> list[int]:
    """Who votes in the global group when every region has its members."""
    count = {1: 3, 2: 2}.get(len(regions), 1)
    return sorted(node for nodes in regions.values() for node in sorted(nodes)[:count])


@dataclass(frozen=True)
class Step:
    """Something that the nodes show once a procedure has come so far."""

    name: str
    is_seen: Callable[[Views], bool]


@dataclass(frozen=True)
class Procedure:
    """One procedure: the cluster before it, and the command."""

    name: str
    words: tuple[str, ...]
    # The members before. For `init`, the nodes that run.
    before: Regions
    region: str = "eu"
    joins: int | None = None
    leaves: int | None = None
    # The node that leaves has been lost before.
    is_lost: bool = False
    # This node leads all its groups when it begins.
    leads: int | None = None
    shrinks: bool = False
    steps: list[Step] = field(default_factory=list)

    @property
    def forms(self) -> bool:
        return self.words[0] == "init"

    def nodes(self) -> list[int]:
        """All that run when it begins."""
        all_of = [node for nodes in self.before.values() for node in nodes]
        living = [node for node in all_of if not (self.is_lost and node == self.leaves)]
        return living + ([self.joins] if self.joins else [])


def any_view(views: Views, is_so: Callable[[View], bool]) -> bool:
    return any(is_so(view) for view in views.values())


def _in_group(name: str, is_so: Callable[[View], bool]) -> Callable[[Views], bool]:
    return lambda views: any_view(views, lambda view: name in view["groups"] and is_so(view["groups"][name]))


def _steps_of_init(regions: Iterable[str], count: int) -> list[Step]:
    names = sorted(regions)

    def adopted(wanted: int) -> Callable[[Views], bool]:
        return lambda views: sum(view["cluster_id"] is not None for view in views.values()) >= wanted

    def led(views: Views) -> bool:
        return all(leader_of(views, name) for name in names)

    def is_complete(view: View) -> bool:
        group = view["groups"].get(GLOBAL, {"voters": [], "learners": []})
        return len(group["voters"]) + len(group["learners"]) == count and not view["changes"]

    return [*(Step(f"adopted-{n}", adopted(n)) for n in range(1, count + 1)),
            Step("region-formed", lambda views: any(_in_group(name, lambda group: bool(group["voters"]))(views)
                                                    for name in names)),
            Step("regions-led", led),
            Step("global-formed", _in_group(GLOBAL, lambda group: bool(group["voters"]))),
            Step("global-led", lambda views: leader_of(views, GLOBAL) is not None),
            Step("complete", lambda views: any_view(views, is_complete))]


def _steps_of_change(of: Procedure) -> list[Step]:
    subject, joins, leaves = of.joins or of.leaves, of.joins, of.leaves

    def known(view: View) -> set[int]:
        return {node["id"] for region in view["regions"].values() for node in region["nodes"]}

    def recorded(view: View) -> bool:
        return any(change["node"] == subject for change in view["changes"])

    def is_changed(group: View) -> bool:
        """The voters are those that are meant, as far as this procedure is about them."""
        return (joins is None or joins in group["voters"]) and (leaves is None or leaves not in group["voters"])

    def is_joint(group: View) -> bool:
        """Half way from the old voters to the new ones: all of them vote."""
        return not group["settled"] and (joins or leaves) in group["voters"]

    members = {name: list(nodes) for name, nodes in of.before.items()}
    if joins:
        members.setdefault(of.region, []).append(joins)
    if leaves:
        members[of.region].remove(leaves)
    wanted = global_voters({name: nodes for name, nodes in members.items() if nodes})
    was = global_voters({name: list(nodes) for name, nodes in of.before.items()})

    def is_over(view: View) -> bool:
        return not view["changes"] and (leaves not in known(view)) and (joins is None or joins in known(view))

    steps = [Step("recorded", lambda views: any_view(views, recorded))]
    if joins:
        adopted = Step("adopted", lambda views: joins in views and views[joins]["cluster_id"] is not None)
        steps = [adopted, *steps]
    if joins and of.region in of.before:
        steps.append(Step("region-learner", _in_group(of.region, lambda group: joins in group["learners"])))
    if of.leads:
        steps.append(Step("region-handed-over", _in_group(of.region, lambda group: group["leader"] != of.leads)))
    if members[of.region]:
        steps += [Step("region-joint", _in_group(of.region, is_joint)),
                  Step("region-voted", _in_group(of.region, lambda group: group["settled"] and is_changed(group)))]
    if of.leads:
        steps.append(Step("global-handed-over", _in_group(GLOBAL, lambda group: group["leader"] != of.leads)))
    if wanted != was:
        steps += [Step("global-joint", _in_group(GLOBAL, lambda group: not group["settled"]
                                                 and set(wanted) <= set(group["voters"]))),
                  Step("global-voted", _in_group(GLOBAL, lambda group: group["settled"]
                                                 and group["voters"] == wanted))]
    if joins and leaves:
        steps.append(Step("old-forgotten", lambda views: any_view(views, lambda view: bool(view["regions"])
                                                                  and leaves not in known(view))))
    return [*steps, Step("over", lambda views: any_view(views, is_over))]


def _with_steps(of: Procedure) -> Procedure:
    of.steps.extend(_steps_of_init(of.before, len(of.nodes())) if of.forms else _steps_of_change(of))
    return of


THREE: Regions = {"eu": (1, 2, 3)}

PROCEDURES = [_with_steps(each) for each in (
    Procedure("init", ("init",), THREE),
    Procedure("init-regions", ("init",), {"eu": (1,), "us": (2,), "ap": (3,)}),
    Procedure("add", ("add-node", "--id", "4"), THREE, joins=4),
    Procedure("add-region", ("add-node", "--id", "4"), THREE, region="us", joins=4),
    Procedure("replace", ("replace-node", "--id", "1", "--with", "4"), THREE, joins=4, leaves=1, is_lost=True),
    Procedure("replace-leader", ("replace-node", "--id", "1", "--with", "4"), THREE, joins=4, leaves=1, leads=1),
    Procedure("remove", ("remove-node", "--id", "1"), {"eu": (1, 2, 3, 4)}, leaves=1, leads=1),
    Procedure("remove-region", ("remove-node", "--id", "4"), {"eu": (1, 2, 3), "us": (4,)}, region="us", leaves=4),
    Procedure("shrink", ("remove-node", "--id", "1", "--shrink"), THREE, leaves=1, leads=1, shrinks=True),
)]
