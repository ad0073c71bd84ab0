"""A cluster on this machine: its file, its nodes as processes, and the command `ratequeue cluster`."""
from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "testnet"))

from call import Caller  # noqa: E402

GLOBAL = "global"
_CALL_MAX_S = 10.0
_START_MAX_S = 60.0
_COMMAND_MAX_S = 100.0
_POLL_EVERY_S = 0.05
# Below those that the system gives to connections: they are free whenever a node comes back.
_HTTP_PORT = 10_000
_PEER_PORT = 20_000
_networks = itertools.count(1)

View = dict[str, Any]


class Breach(Exception):
    """Something is not as it must be."""


def clean_environment() -> dict[str, str]:
    """Settings that are meant for another node would have the last word."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RATEQUEUE_")}
    # No load balancer has to see that a node stops.
    clean["RATEQUEUE_DRAIN"] = "0"
    return clean


class Command:
    """A command that runs, and what it has printed once it has ended."""

    def __init__(self, words: list[str]) -> None:
        self.line = " ".join(words[1:])
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, env=clean_environment(), text=True)

    def kill(self) -> None:
        self._process.kill()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> tuple[int, str]:
        """The exit code, negative when it was killed, and what it printed."""
        try:
            text, _ = self._process.communicate(timeout=_COMMAND_MAX_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            raise Breach(f"`{self.line}` has not ended after {_COMMAND_MAX_S:.0f} s") from None
        return self._process.returncode, text.strip()


class Cluster:
    """The nodes of one cluster. Its addresses are its own: another cluster of this machine has others."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "cluster.toml"
        self.regions: dict[int, str] = {}
        self._binary = binary
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()
        pid = os.getpid()
        self._host = f"127.{next(_networks) % 254 + 1}.{pid >> 8 & 255}.{pid & 255}"

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for node in list(self._processes):
            self.kill(node)

    def describe(self, region: str, *nodes: int) -> None:
        """Puts nodes into the file, which every node reads when it starts."""
        self.regions.update(dict.fromkeys(nodes, region))
        self._write()

    def forget(self, node: int) -> None:
        self.kill(node)
        del self.regions[node]
        self._write()

    def place(self, node: int) -> str:
        return f"{self._host}:{_HTTP_PORT + node}"

    def nodes_of(self, region: str) -> list[int]:
        return sorted(node for node, its in self.regions.items() if its == region)

    def _write(self) -> None:
        lines = ['name = "members"']
        for region in sorted(set(self.regions.values())):
            lines += [f"[regions.{region}]", "nodes = ["]
            lines += [f'  {{ id = {node}, http = "{self.place(node)}", peer = "{self._host}:{_PEER_PORT + node}" }},'
                      for node in self.nodes_of(region)]
            lines.append("]")
        # The same for every number of regions, so that a new one restarts nobody.
        lines += ["[global]", "round_trip_ms = 0", ""]
        self.file.write_text("\n".join(lines))

    def start(self, *nodes: int) -> None:
        """Starts nodes, for the first time or again; returns when they listen."""
        for node in nodes:
            data, log = self.folder / f"node-{node}", self.folder / f"node-{node}.log"
            words = [str(self._binary), "node", "--cluster", str(self.file), "--id", str(node), "--data", str(data)]
            with log.open("ab") as out:
                # A session of its own: Ctrl-C is for this script, which ends the nodes.
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                           env=clean_environment(), start_new_session=True)
            with self._lock:
                self._processes[node] = process
        for node in nodes:
            eventually(f"node {node} listens", lambda: self._listens(node), _START_MAX_S)

    def _listens(self, node: int) -> bool:
        code = self._processes[node].poll()
        if code is not None:
            raise Breach(f"node {node} has ended by itself, with {code}:\n{self.last_words(node)}")
        return self.get(node, "/startupz")[0] == 200

    def kill(self, node: int) -> None:
        with self._lock:
            process = self._processes.pop(node, None)
        if process is not None:
            process.kill()
            process.wait()

    def is_running(self, node: int) -> bool:
        return node in self._processes

    def running(self) -> list[int]:
        return sorted(self._processes)

    def down(self) -> list[int]:
        return sorted(set(self.regions) - set(self._processes))

    def command(self, *words: str) -> Command:
        return Command([str(self._binary), "cluster", *words, "--cluster", str(self.file)])

    def get(self, node: int, path: str) -> tuple[int, Any]:
        return self.call(node, "GET", path)

    def call(self, node: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One call, over a connection of its own; status 0 when there was no answer."""
        caller = Caller(self.place(node), _CALL_MAX_S)
        try:
            return caller.call(method, path, body)
        except OSError as error:
            return 0, repr(error)
        finally:
            caller.close()

    def view(self, node: int) -> View | None:
        status, view = self.get(node, "/v1/cluster")
        return view if status == 200 else None

    def views(self, nodes: Iterable[int]) -> dict[int, View]:
        found = {node: self.view(node) for node in nodes}
        return {node: view for node, view in found.items() if view is not None}

    def leader(self, group: str) -> int | None:
        return leader_of(self.views(self.running()), group)

    def last_words(self, node: int) -> str:
        with contextlib.suppress(OSError):
            lines = (self.folder / f"node-{node}.log").read_text(errors="replace").splitlines()
            return "\n".join(f"    {line}" for line in lines[-5:])
        return "    (no log)"


def leader_of(views: dict[int, View], group: str) -> int | None:
    """Who leads, of those that say that they do: one that was deposed and has not heard of it has an earlier term."""
    leading = [(view["groups"][group]["term"], node) for node, view in views.items()
               if view["groups"].get(group, {}).get("role") == "leader"]
    return max(leading)[1] if leading else None


def end_on_signals() -> None:
    """SIGTERM then ends this process as Ctrl-C does: through every finally, so that no node is left."""
    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)


def eventually(what: str, is_so: Callable[[], bool], within_s: float) -> None:
    until = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > until:
            raise Breach(f"waited {within_s:.0f} s for this: {what}")
        time.sleep(_POLL_EVERY_S)
