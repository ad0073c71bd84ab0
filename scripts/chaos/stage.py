"""Where a run takes place: the nodes, their network and disks, the clients; and all that a fault may do to them."""
from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import lan
import net
import system
from call import Caller
from cluster import Cluster
from disks import Disk
from history import History
from layout import Failed, Layout, Node
from workload import Resource, Workload, write

_HERE = Path(__file__).resolve().parent
_READY_MAX_S = 40.0
_POLL_EVERY_S = 0.05
_MEMBERS_MAX_S = 60.0
# A client that is told to end finds out what is unknown first.
_CLIENTS_END_S = 75.0


class NotInstalled(Exception):
    """A fault did not come about: the run proves nothing about it."""


class Nodes(Cluster):
    """A cluster whose data folders may lie on disks of their own."""

    # The nodes of the network that are part of the cluster, when it is not all.
    members: list[int] | None = None
    disks: dict[int, Disk] = {}
    # The longest time between two checkpoints, as the flag of a node has it. The last node, the keeper, has an hour:
    # its log says all that was decided.
    checkpoint_interval = "1m"

    def __init__(self, binary: Path, plan: lan.Lan | Layout, folder: Path, members: list[int] | None) -> None:
        self.members = members
        super().__init__(binary, plan, folder)

    def nodes_of(self, region: int) -> list[Node]:
        nodes = super().nodes_of(region)
        return nodes if self.members is None else [node for node in nodes if node.index in self.members]

    def start_node(self, node: Node, **environment: str) -> None:
        interval = "1h" if node == self.nodes()[-1] else self.checkpoint_interval
        super().start_node(node, RATEQUEUE_CHECKPOINT_INTERVAL=interval, **environment)

    def data_of(self, number: int) -> Path:
        return self.disks[number].path / "data" if number in self.disks else super().data_of(number)


def _state(stat: Path) -> str:
    """The state of a process: R, S, T, ..."""
    return stat.read_text().rsplit(")", 1)[1].split()[0]


class Stage:
    """What a fault may do, and what it has to know."""

    def __init__(self, nodes: Nodes, folder: Path, dice: random.Random) -> None:
        self.nodes = nodes
        self.folder = folder
        self.random = dice
        self.down: set[int] = set()
        self.breaches: list[str] = []
        self._decks: dict[str, list[Any]] = {}
        self._shimmed: set[int] = set()
        self._history = History(folder / "history-0.jsonl")
        self._clients: dict[int, subprocess.Popen[bytes]] = {}
        self._clients_begun = 0
        self._harvests = 0

    @property
    def by_id(self) -> dict[int, Node]:
        """The nodes of the cluster as it is now."""
        return {self.nodes.id_of(node): node for node in self.nodes.nodes()}

    @property
    def ids(self) -> list[int]:
        return sorted(self.by_id)

    @property
    def regions(self) -> dict[str, list[int]]:
        return {self.nodes.region_name(region): [self.nodes.id_of(node) for node in self.nodes.nodes_of(region)]
                for region in self.nodes.plan.region_numbers()}

    # Time and choice

    def hold(self, low: float, high: float) -> float:
        """Lets a time pass that is drawn from a range."""
        seconds = self.random.uniform(low, high)
        time.sleep(seconds)
        return round(seconds, 2)

    def pick(self, count: int = 1) -> list[int]:
        return self.random.sample(self.ids, count)

    def pick_but_keeper(self) -> int:
        """Any node but the one whose log says all."""
        return self.random.choice(self.ids[:-1])

    def deal(self, deck: str, cards: list[Any]) -> Any:
        """One of the cards; each comes once before any comes again."""
        if not self._decks.get(deck):
            self._decks[deck] = self.random.sample(cards, len(cards))
        return self._decks[deck].pop()

    def leader(self, group: str | None = None) -> int:
        """Who leads a group: a region, `global`, or that of the first region."""
        group = group or next(iter(self.regions))
        return self.until(f"{group} has a leader", lambda: self._leader_now(group), 20.0)

    def _leader_now(self, group: str) -> int | None:
        leads = []
        for number in self.ids:
            with contextlib.suppress(OSError, ValueError, KeyError):
                status, view = self.nodes.get(self.by_id[number], "/v1/cluster")
                if status == 200 and view["groups"][group]["role"] == "leader":
                    leads.append((view["groups"][group]["term"], number))
        return max(leads)[1] if leads else None

    def until(self, what: str, found: Callable[[], Any], within_s: float) -> Any:
        end = time.monotonic() + within_s
        while not (value := found()):
            if time.monotonic() > end:
                raise Failed(f"after {within_s:.0f} s it is not so that {what}")
            time.sleep(_POLL_EVERY_S)
        return value

    def confirm(self, is_so: bool, what: str) -> None:
        if not is_so:
            raise NotInstalled(what)

    # Nodes

    def kill(self, *numbers: int) -> None:
        """SIGKILL, all at once; they are gone when it returns."""
        self.down |= set(numbers)
        for number in numbers:
            self.nodes.processes[number].kill()
        for number in numbers:
            self.confirm(self.nodes.processes[number].wait() == -signal.SIGKILL, f"node {number} was killed")

    def start(self, *numbers: int, binary: Path | None = None, **environment: str) -> None:
        usual = self.nodes.binary
        self.nodes.binary = binary or usual
        for number in numbers:
            self.nodes.start_node(self.by_id[number], **environment)
        self.nodes.binary = usual
        self.down -= set(numbers)
        self._shimmed -= set(numbers)

    def stop(self, number: int) -> None:
        """A clean stop. It makes a checkpoint, so what the log says is kept before."""
        self.harvest(number)
        self.down.add(number)
        self.nodes.processes[number].terminate()
        self.nodes.processes[number].wait(30)

    def pause(self, *numbers: int) -> None:
        for number in numbers:
            self.nodes.processes[number].send_signal(signal.SIGSTOP)
        for number in numbers:
            path = Path(f"/proc/{self.nodes.processes[number].pid}/stat")
            self.until(f"node {number} stands still", lambda: _state(path) == "T", 2.0)

    def resume(self, *numbers: int) -> None:
        for number in numbers:
            self.nodes.processes[number].send_signal(signal.SIGCONT)

    def exit_code(self, number: int, within_s: float) -> int:
        """The code that a node ends with by itself."""
        process = self.nodes.processes[number]
        self.until(f"node {number} has ended", lambda: process.poll() is not None, within_s)
        self.down.add(number)
        assert process.returncode is not None
        return process.returncode

    def wait_ready(self, *numbers: int) -> None:
        for number in numbers or self.ids:
            self.until(f"node {number} is ready", lambda: self._is_ready(number), _READY_MAX_S)

    def _is_ready(self, number: int) -> bool:
        code = self.nodes.processes[number].poll()
        if code is not None and number not in self.down:
            raise Failed(f"node {number} has ended with {code}")
        with contextlib.suppress(OSError):
            return self.nodes.get(self.by_id[number], "/readyz")[0] == 200
        return False

    def command(self, *words: str) -> bool:
        """`ratequeue cluster ...`; whether it has done what it was asked for."""
        line = [str(self.nodes.binary), "cluster", *words, "--cluster", str(self.nodes.file)]
        return subprocess.run(line, capture_output=True, timeout=60).returncode == 0

    # Members

    def stranger(self) -> int:
        """A node of the network that has never been part of the cluster."""
        return max(self.nodes.processes) + 1

    def join(self, number: int, *words: str) -> None:
        """A new node comes, by a command that is repeated until it is done: `add-node`, `replace-node`."""
        assert self.nodes.members is not None
        self.confirm(number <= self.nodes.plan.nodes, "there is another node in the network")
        self.nodes.members.append(number)
        self.nodes.describe()
        self.start(number)
        self.until(f"`{' '.join(words)}` is done", lambda: self.command(*words), _MEMBERS_MAX_S)

    def leave(self, number: int) -> None:
        """A node goes, after whatever command there was: it is killed, and described no more."""
        assert self.nodes.members is not None
        if number not in self.down:
            self.kill(number)
        self.harvest(number)
        self.down.discard(number)
        self.nodes.members.remove(number)
        self.nodes.describe()
        self.tell_clients()

    def verdict(self, number: int) -> str:
        """What became of a node that was started: `ready`, `ended`, or nothing yet."""
        if self.nodes.processes[number].poll() is not None:
            return "ended"
        with contextlib.suppress(OSError):
            if self.nodes.get(self.by_id[number], "/readyz")[0] == 200:
                return "ready"
        return ""

    def require(self, is_so: bool, breach: str) -> None:
        """What a node must do in a fault; the run goes on, and is red at its end."""
        if not is_so:
            self.breaches.append(breach)

    @contextlib.contextmanager
    def disk_fault(self, number: int, name: str, text: str = "") -> Iterator[None]:
        """Within it, the syncs of a node fail or wait."""
        self.prepare_disk(number)
        folder = self._faults_of(number)
        (folder / name).write_text(text)
        try:
            yield
        finally:
            (folder / name).unlink()

    def prepare_disk(self, number: int) -> None:
        """Has the node run as a process whose syncs can be told to fail or to wait."""
        if number not in self._shimmed:
            self._faults_of(number).mkdir(exist_ok=True)
            self.kill(number)
            self.start(number, LD_PRELOAD=str(self._shim()), DISK_FAULTS=str(self._faults_of(number)))
            self.wait_ready(number)
            self._shimmed.add(number)

    def _faults_of(self, number: int) -> Path:
        return self.folder / f"faults-{number}"

    def _shim(self) -> Path:
        library = self.folder / "shim.so"
        if not library.exists():
            system.run("cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_HERE / "shim.c"), "-ldl")
        return library

    @staticmethod
    def wall_clock(offset: str) -> dict[str, str]:
        """The environment of a node whose wall clock is somewhere else, and whose monotonic clock is right."""
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            raise Failed("libfaketime is missing: run scripts/setup.sh test")
        return {"LD_PRELOAD": str(found[0]), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}

    # Network

    @property
    def lan(self) -> lan.Lan:
        assert isinstance(self.nodes.plan, lan.Lan), "this fault is for one region"
        return self.nodes.plan

    @property
    def tag(self) -> str:
        assert isinstance(self.nodes.plan, Layout), "this fault is for several regions"
        return self.nodes.plan.tag

    def cut(self, *ways: tuple[int, int]) -> None:
        """Nothing that the first of each pair sends arrives at the second."""
        self.lan.cut(ways)

    def cut_between(self, some: Iterable[int], others: Iterable[int]) -> None:
        """Nothing arrives either way."""
        others = list(others)
        self.cut(*((a, b) for one in some for other in others for a, b in ((one, other), (other, one))))

    def part(self, some: Iterable[int], others: Iterable[int], low: float, high: float) -> float:
        """Nothing arrives between some nodes and others for a time; then all is healed and ready."""
        self.cut_between(some, others)
        self.confirm_drops()
        away = self.hold(low, high)
        self.heal()
        self.wait_ready()
        return away

    def confirm_drops(self) -> None:
        self.until("packets are dropped", lambda: self.lan.dropped() > 0, 5.0)

    def heal(self) -> None:
        if isinstance(self.nodes.plan, lan.Lan):
            self.nodes.plan.heal()
        else:
            net.heal(self.nodes.plan.tag)

    # Clients

    def change(self, do: str, path: str, resource: str, key: str, body: dict[str, Any]) -> bool:
        """A change of a resource, through any node, repeated until it is known; whether it was made."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            number = self.random.choice([each for each in self.ids if each not in self.down])
            shown = {"spec": body} if do == "put" else {"limits": body["limits"]}
            call = self._history.call(do, node=number, resource=resource, key=key, **shown)
            caller = Caller(self.by_id[number].http, 5.0)
            try:
                status, said = caller.call(do.upper(), path, body, key)
            except (OSError, ValueError):
                status, said = 0, {}
            finally:
                caller.close()
            outcome = "ok" if 200 <= status < 300 else "refused" if 400 <= status < 500 else "unknown"
            said = said if isinstance(said, dict) else {}
            self._history.outcome(call, outcome, status=status, version=said.get("version"), code=said.get("code"),
                                  index=said.get("effective_index"))
            if outcome != "unknown":
                return outcome == "ok"
            time.sleep(0.2)
        return False

    def patch(self, resource: Resource, limits: dict[str, dict[str, Any]]) -> None:
        key = f"patch-{time.monotonic_ns()}"
        self.change("patch", f"/v1/resources/{resource.name}", resource.name, key, {"limits": limits})

    def begin_clients(self, load: Workload, count: int, seed: int) -> None:
        self.load, self._seed = load, seed
        self.tell_clients()
        for resource in load.resources:
            made = self.change("put", f"/v1/resources/{resource.name}", resource.name, f"put-{resource.name}", resource.spec())
            if not made:
                raise Failed(f"{resource.name} could not be created")
        for _ in range(count):
            self._begin_client()

    def tell_clients(self) -> None:
        """Where they find the nodes now, and what they do there."""
        places = {number: node.http for number, node in self.by_id.items()}
        self.load = dataclasses.replace(self.load, places=places, regions=self.regions)
        write(self.load, self.folder / "workload.json")

    def _begin_client(self) -> None:
        self._clients_begun += 1
        command = [sys.executable, str(_HERE / "clients.py"), str(self.folder), str(self._clients_begun), str(self._seed)]
        with (self.folder / "clients.log").open("ab") as log:
            self._clients[self._clients_begun] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill_clients(self, count: int) -> int:
        """Kills so many clients with all their callers; others begin in their place."""
        victims = self.random.sample(sorted(self._clients), min(count, len(self._clients)))
        for number in victims:
            self._clients[number].kill()
            self._clients.pop(number).wait()
            self._begin_client()
        return len(victims)

    def end_clients(self) -> None:
        """Lets all callers come to their end. A client that fails is a fault of this machinery."""
        for client in self._clients.values():
            client.terminate()
        end = time.monotonic() + _CLIENTS_END_S
        failed = []
        for number, client in self._clients.items():
            try:
                if client.wait(max(0.1, end - time.monotonic())) != 0:
                    failed.append(number)
            except subprocess.TimeoutExpired:
                client.kill()
                client.wait()
        self._clients.clear()
        if failed:
            raise Failed(f"clients {failed} have failed: see clients.log in {self.folder}")

    def abandon_clients(self) -> None:
        for client in self._clients.values():
            client.kill()
            client.wait()

    def acknowledgement(self) -> None:
        """Waits for the next grant or release that a client is told of."""
        number = self.random.choice(sorted(self._clients))
        path = self.folder / f"history-{number}.jsonl"
        self.until(f"client {number} has begun", path.exists, 20.0)
        with path.open() as file:
            file.seek(0, 2)
            end = time.monotonic() + 20
            while time.monotonic() < end:
                line = file.readline()
                if '"outcome":"ok"' in line:
                    return
                if not line:
                    time.sleep(0.001)
        raise Failed("nothing was acknowledged for 20 s")

    # Evidence

    def harvest(self, number: int) -> None:
        """Keeps a copy of a node's folder as it is now, for what the log says."""
        running = number not in self.down
        if running:
            self.pause(number)
        self._harvests += 1
        shutil.copytree(self.nodes.data_of(number), self.folder / "harvest" / f"{number}-{self._harvests}")
        if running:
            self.resume(number)

    def note_fault(self, **what: Any) -> None:
        with (self.folder / "faults.jsonl").open("a") as file:
            file.write(json.dumps(what) + "\n")

    def node(self, number: int) -> Node:
        return self.by_id[number]
