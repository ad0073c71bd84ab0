#!/usr/bin/env python3
"""A RateQueue cluster in a network with several regions: all nodes of a region run in its namespace.

    cluster.py --binary target/release/ratequeue --regions 3 --nodes 3 --rtt-ms 80

makes the network, starts every node, forms the cluster, prints where everything is (JSON), and runs until Ctrl-C or
SIGTERM. Meanwhile `net.py cut`, `heal` and `rtt` work on it. Node ids count from 1, region by region. Run as root.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import net
import system
from call import Caller
from lan import Lan
from layout import Failed, Layout, Node, Usage

REGION_NAMES = ("eu-west-1", "us-east-1", "ap-south-1")
_POLL_EVERY_S = 0.1
_START_MAX_S = 60.0
_STOP_MAX_S = 10.0


class Cluster:
    """The processes of one cluster, their files, and who leads."""

    def __init__(self, binary: Path, plan: Layout | Lan, folder: Path, global_voters: int | None = None) -> None:
        self.plan = plan
        self.folder = folder
        self.file = folder / "cluster.toml"
        self.binary = binary
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self._global_voters = global_voters
        self.describe()

    def region_name(self, region: int) -> str:
        return REGION_NAMES[region - 1] if region <= len(REGION_NAMES) else f"region-{region}"

    def id_of(self, node: Node) -> int:
        return (node.region - 1) * self.plan.nodes + node.index

    def nodes(self) -> list[Node]:
        return [node for region in self.plan.region_numbers() for node in self.nodes_of(region)]

    def nodes_of(self, region: int) -> list[Node]:
        return self.plan.nodes_of(region)

    def describe(self) -> None:
        """Writes the cluster file."""
        self.file.write_text(self._description())

    def _description(self) -> str:
        lines = [f'name = "{self.plan.tag}"', ""]
        for region in self.plan.region_numbers():
            lines += [f"[regions.{self.region_name(region)}]", "nodes = ["]
            lines += [f'  {{ id = {self.id_of(node)}, http = "{node.http}", peer = "{node.peer}" }},'
                      for node in self.nodes_of(region)]
            lines += ["]", ""]
        if self._global_voters is not None:
            lines += ["[global]", f"voters_per_region = {self._global_voters}", ""]
        return "\n".join(lines)

    def start(self) -> None:
        """Starts every node, forms the cluster, and returns when all are ready."""
        for node in self.nodes():
            self.start_node(node)
        self._wait("listens", lambda node: self.get(node, "/startupz")[0] == 200)
        system.run(str(self.binary), "cluster", "init", "--cluster", str(self.file))
        self._wait("is ready", lambda node: self.get(node, "/readyz")[0] == 200)

    def start_node(self, node: Node, **environment: str) -> None:
        """Starts one node, for the first time or again."""
        number = self.id_of(node)
        command = ["ip", "netns", "exec", self.plan.namespace_of(node), str(self.binary), "node",
                   "--cluster", str(self.file), "--id", str(number), "--data", str(self.data_of(number))]
        # Settings that are meant for another node would have the last word.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RATEQUEUE_")}
        # No load balancer has to see that a node stops.
        clean |= {"RATEQUEUE_DRAIN": "0"} | environment
        with self.log_of(number).open("ab") as log:
            # A session of its own: Ctrl-C is for this script, which ends the nodes one after another.
            self.processes[number] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                      env=clean, start_new_session=True)

    def data_of(self, number: int) -> Path:
        return self.folder / f"node-{number}"

    def stop(self) -> None:
        """Ends all nodes; those that take too long, the hard way."""
        for process in self.processes.values():
            process.terminate()
        until = time.monotonic() + _STOP_MAX_S
        for process in self.processes.values():
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def leader(self, group: str, region: int) -> Node | None:
        """Who leads a group, according to the nodes of a region; nobody while they know of none."""
        by_id = {self.id_of(node): node for node in self.nodes()}
        for node in self.plan.nodes_of(region):
            with contextlib.suppress(OSError):
                status, view = self.get(node, "/v1/cluster")
                number = view["groups"].get(group, {}).get("leader") if status == 200 else None
                if number is not None:
                    return by_id.get(number)
        return None

    def as_json(self) -> list[dict[str, Any]]:
        return [{"id": self.id_of(node), "region": self.region_name(node.region), "http": node.http,
                 "peer": node.peer, "log": str(self.log_of(self.id_of(node)))} for node in self.nodes()]

    def get(self, node: Node, path: str) -> tuple[int, Any]:
        caller = Caller(node.http, 2.0)
        try:
            return caller.call("GET", path)
        finally:
            caller.close()

    def _wait(self, what: str, done: Callable[[Node], bool]) -> None:
        until = time.monotonic() + _START_MAX_S
        for node in self.nodes():
            while True:
                with contextlib.suppress(OSError):
                    if done(node):
                        break
                self._expect_running(self.id_of(node))
                if time.monotonic() > until:
                    raise Failed(f"after {_START_MAX_S:.0f} s node {self.id_of(node)} is not where it {what}:\n"
                                 f"{self._last_words(self.id_of(node))}")
                time.sleep(_POLL_EVERY_S)

    def _expect_running(self, number: int) -> None:
        code = self.processes[number].poll()
        if code is not None:
            raise Failed(f"node {number} has ended with {code}:\n{self._last_words(number)}")

    def log_of(self, number: int) -> Path:
        return self.folder / f"node-{number}.log"

    def _last_words(self, number: int) -> str:
        lines = self.log_of(number).read_text(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-5:])


@contextlib.contextmanager
def running(binary: Path, tag: str, regions: int, nodes: int, rtt_ms: float,
            global_voters: int | None = None, keep: bool = False) -> Iterator[Cluster]:
    """Within it, a cluster runs in a network of its own. After it nothing is left, except, if asked, its folder."""
    if not os.access(binary, os.X_OK):
        raise Usage(f"{binary} is not a program: build one with cargo build --release --locked")
    # Outside of the try: a network that was there before is not ours to take down.
    state = net.up(tag, regions, nodes, rtt_ms, os.getpid())
    folder = Path(tempfile.mkdtemp(prefix=f"ratequeue-{tag}-"))
    cluster = Cluster(binary.resolve(), Layout.from_json(state), folder, global_voters)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        net.down(tag)
        if keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def end_on_signals() -> None:
    """SIGTERM then ends this process as Ctrl-C does: through every finally."""
    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=Path("target/release/ratequeue"))
    parser.add_argument("--tag", default=f"cl{os.getpid()}")
    parser.add_argument("--regions", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=3, help="nodes in each region")
    parser.add_argument("--rtt-ms", type=float, default=80, help="round trip between any two regions")
    parser.add_argument("--global-voters", type=int, metavar="N", help="voters of the global group in each region")
    parser.add_argument("--keep", action="store_true", help="keep the folder with logs and data")
    wish = parser.parse_args()
    end_on_signals()
    try:
        with running(wish.binary, wish.tag, wish.regions, wish.nodes, wish.rtt_ms, wish.global_voters,
                     wish.keep) as cluster:
            print(json.dumps({"tag": wish.tag, "file": str(cluster.file), "nodes": cluster.as_json()}), flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    except Usage as error:
        print(f"cluster.py: {error}", file=sys.stderr)
        return 2
    except Failed as error:
        print(f"cluster.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
