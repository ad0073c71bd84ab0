#!/usr/bin/env python3
"""A network with several regions on this machine, whose round trip is chosen and whose regions can be cut off.

    net.py up --tag demo --regions 3 --nodes 3 --rtt-ms 80     makes it, prints where everything is (JSON)
    net.py cut --tag demo 3                                     region 3 is alone from now on; nobody is told
    net.py heal --tag demo                                      all reach each other again
    net.py rtt --tag demo 150                                   another round trip between regions
    net.py status --tag demo                                    what the relay does
    net.py down --tag demo                                      leaves nothing behind

Run as root. A node is started inside its region with `ip netns exec NAMESPACE PROGRAM`. Nodes of one region reach
each other at once, those of different regions through the relay; from outside, their HTTP is always reachable.
Exit codes: 0 done, 1 failed, 2 wrong usage.
"""
from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import control
import layout as names
import network
import system
from layout import Failed, Usage


def up(tag: str, regions: int, nodes: int, rtt_ms: float, until_pid: int = 0) -> dict[str, Any]:
    """Makes a network and gives what `up` prints. A network that fails half way is taken down again."""
    check_rtt(rtt_ms)
    system.check_able()
    plan = network.plan(tag, regions, nodes)
    network.claim(tag)
    try:
        network.make(plan)
        pid = control.start(tag, until_pid)
        control.ask(tag, do="rtt", ms=rtt_ms)
        return control.remember(plan, pid)
    except BaseException:
        down(tag)
        raise


def down(tag: str) -> None:
    """Takes a network down, whole or half-made; nothing happens when there is none."""
    names.check_tag(tag)
    system.check_able()
    control.stop(tag)
    network.take_down(tag)


def cut(tag: str, regions: list[int]) -> dict[str, Any]:
    """Cuts each of these regions off from every other."""
    plan = control.recall(tag)
    unknown = [region for region in regions if region not in plan.region_numbers()]
    if unknown or not regions:
        raise Usage(f"region {unknown[0] if unknown else ''}: this network has the regions 1 to {plan.regions}")
    network.cut(plan, regions)
    return control.ask(tag, do="cut", regions=regions)


def cut_all(tag: str) -> dict[str, Any]:
    """Cuts every region off from every other."""
    return cut(tag, list(control.recall(tag).region_numbers()))


def heal(tag: str) -> dict[str, Any]:
    """Lets all regions reach each other. Connections that were cut are reset: their ends connect anew."""
    # First the packets, then the relay: its resets must arrive.
    network.heal(control.recall(tag))
    return control.ask(tag, do="heal")


def set_rtt(tag: str, rtt_ms: float) -> dict[str, Any]:
    """Changes the round trip between regions for what is sent from now on."""
    check_rtt(rtt_ms)
    control.recall(tag)
    return control.ask(tag, do="rtt", ms=rtt_ms)


def status(tag: str) -> dict[str, Any]:
    control.recall(tag)
    return control.ask(tag, do="status")


def check_rtt(rtt_ms: float) -> None:
    if not 0 <= rtt_ms <= names.RTT_MAX_MS:
        raise Usage(f"a round trip of {rtt_ms} ms: it must be 0 to {names.RTT_MAX_MS}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    options = {}
    for name, text in (("up", "make a network"), ("cut", "cut regions off, silently"), ("heal", "end all cuts"),
                       ("rtt", "change the round trip"), ("status", "say what the relay does"),
                       ("down", "take a network down")):
        options[name] = commands.add_parser(name, help=text)
        options[name].add_argument("--tag", required=True, help="name of the network: letters and digits, at most 12")
    options["up"].add_argument("--regions", type=int, default=3)
    options["up"].add_argument("--nodes", type=int, default=3, help="nodes in each region")
    options["up"].add_argument("--rtt-ms", type=float, default=80, help="round trip between any two regions")
    options["up"].add_argument("--until-pid", type=int, default=0, metavar="PID",
                               help="take the network down by itself when this process is gone")
    options["cut"].add_argument("regions", nargs="+", metavar="REGION", help="numbers from 1, or: all")
    options["rtt"].add_argument("ms", type=float)
    return parser


def _do(wish: argparse.Namespace) -> Any:
    if wish.command == "up":
        return up(wish.tag, wish.regions, wish.nodes, wish.rtt_ms, wish.until_pid)
    if wish.command == "cut":
        if wish.regions == ["all"]:
            return cut_all(wish.tag)
        if not all(region.isdecimal() for region in wish.regions):
            raise Usage("regions are numbers from 1, or the one word: all")
        return cut(wish.tag, [int(region) for region in wish.regions])
    if wish.command == "rtt":
        return set_rtt(wish.tag, wish.ms)
    return {"heal": heal, "status": status, "down": down}[wish.command](wish.tag)


def main() -> int:
    wish = _parser().parse_args()
    try:
        answer = _do(wish)
    except Usage as error:
        print(f"net.py: {error}", file=sys.stderr)
        return 2
    except Failed as error:
        print(f"net.py: {error}", file=sys.stderr)
        return 1
    if answer is not None:
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
