"""Sees a step of a procedure as soon as a node shows it, and kills."""
from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from nodes import GLOBAL, Caller, Cluster, Command, View, leader_of
from procedures import Views

COMMAND, LEADER = "command", "leader"


class Watch:
    """Looks at every node without a pause, and acts once, as soon as a step is seen."""

    def __init__(self, cluster: Cluster, is_seen: Callable[[Views], bool], act: Callable[[Views], None]) -> None:
        self.breach = ""
        self.acted = threading.Event()
        self._cluster, self._is_seen, self._act = cluster, is_seen, act
        self._views: Views = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._look, args=(node,), daemon=True) for node in cluster.running()]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _look(self, node: int) -> None:
        caller = Caller(self._cluster.place(node), 2.0)
        while not self._ending.is_set():
            try:
                status, view = caller.call("GET", "/v1/cluster")
            except OSError:
                time.sleep(0.01)
                continue
            if status == 200:
                self._take(node, view)
        caller.close()

    def _take(self, node: int, view: View) -> None:
        with self._lock:
            self._views[node] = view
            self._look_for_two()
            if not self.acted.is_set() and self._is_seen(self._views):
                self._act(dict(self._views))
                self.acted.set()

    def _look_for_two(self) -> None:
        """Never two clusters, and never two leaders of a group in one term."""
        ids = {view["cluster_id"] for view in self._views.values()} - {None}
        if len(ids) > 1:
            self.breach = f"the nodes are part of {len(ids)} clusters"
        leading = Counter((name, group["term"]) for view in self._views.values()
                          for name, group in view["groups"].items() if group["role"] == "leader")
        for (name, term), count in leading.items():
            if count > 1:
                self.breach = f"group {name} has {count} leaders in term {term}"


class Strike:
    """The kill: of the command, of a node, or of the one that leads the global group at that moment."""

    def __init__(self, cluster: Cluster, victim: str, command: Command) -> None:
        self.killed: int | None = None
        self._cluster, self._victim, self._command = cluster, victim, command

    def __call__(self, views: Views) -> None:
        if self._victim == COMMAND:
            self._command.kill()
            return
        if self._victim == LEADER:
            # Before there is one, the node that will form the group.
            self.killed = leader_of(views, GLOBAL) or min(self._cluster.running())
        else:
            self.killed = int(self._victim.removeprefix("node-"))
        self._cluster.kill(self.killed)
