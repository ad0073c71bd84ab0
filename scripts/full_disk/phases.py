"""The calls and the checks of full-disk.sh, which makes the disk: phases.py DISK BINARY SECONDS CALLERS.

    load            0 s  the callers fill the disk; at 4 s the filler leaves little more than a checkpoint may use, so
                         that it is full by then at the latest, and the checkpoints after that come to a full disk
    nearly nothing 20 s  the filler takes all but a few MiB, and is kept at that
    stop         + 1/4   of the time that is left: SIGTERM and a start, still without room
    kill         + 1/4   SIGKILL and a start, still without room
    room         + 1/4   the filler is deleted: it must grant again by itself
                 + 1/4   SIGTERM

Leases are held from the beginning, some of them with deadlines spread over the whole run. A release or an expiry counts
as one at 507 when the acquires right before and after it were answered 507.
"""
from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from callers import RELEASES_PER_S, Calls, Probes
from node import CALL_MAX_S, MIB, Disk, Node, Wrong, once

_RESOURCE = {"limits": {"slots": {"kind": "concurrency", "quota": 1_000_000}}}
# When the filler leaves how much, before the first checkpoint comes. Its writer must leave 24 MiB to the log.
_SQUEEZE_S = 4.0
_SQUEEZE_LEFT_BYTES = 32 * MIB
_LOAD_S = 20.0
# Below 8 MiB a node writes nothing but what ends leases.
_LEFT_BYTES = 6 * MIB
_GRANT_AGAIN_MAX_S = 30.0
# A run that saw less proves little.
_GRANTED_MIN = 1_000
_RELEASES_AT_507_MIN = 5
_EXPIRIES_AT_507_MIN = 3


class Run:
    """The phases, one after another."""

    def __init__(self, disk: Disk, node: Node, seconds: int) -> None:
        self.calls = Calls(node)
        self.probes = Probes(node, self.calls)
        self.restarts: list[str] = []
        self.state_bytes_max = self.log_bytes_max = 0
        self.granted_again: float | None = None
        self._disk, self._node, self._seconds = disk, node, seconds

    def all(self, callers: int) -> None:
        say(f"ready after {self._node.start():.1f} s")
        status, body = once(self._node.place, "PUT", "/v1/resources/jobs", _RESOURCE)
        if status != 201:
            raise Wrong(f"the resource was answered {status}: {body}")
        self.probes.prepare(self._seconds)
        threads = [threading.Thread(target=self.calls.run, daemon=True) for _ in range(callers)]
        for thread in threads:
            thread.start()

        self._load()
        self._full("nearly nothing", 1)
        self._restart(signal.SIGTERM)
        self._full("stop", 2)
        self._restart(signal.SIGKILL)
        self._full("kill", 3)
        self._room()

        self.calls.ending.set()
        for thread in threads:
            thread.join(CALL_MAX_S)
        self._expect_all_well()
        self._node.stop(signal.SIGTERM)
        if self.calls.seen["granted"] < _GRANTED_MIN:
            raise Wrong(f"only {self.calls.seen['granted']} acquires were granted: that proves little")

    def _until(self, quarters: int) -> bool:
        """Whether there is time left until so many quarters of what follows the load."""
        return self.calls.since_begin() < _LOAD_S + (self._seconds - _LOAD_S) * quarters / 4

    def _round(self, phase: str) -> bool:
        time.sleep(1 / RELEASES_PER_S)
        self._expect_all_well()
        self.state_bytes_max = max(self.state_bytes_max, self._disk.bytes_in("state"))
        self.log_bytes_max = max(self.log_bytes_max, self._disk.bytes_in("log"))
        return self.probes.round(phase)

    def _expect_all_well(self) -> None:
        self._node.expect_running()
        if self.calls.wrong:
            # If it is about to end, that is the reason.
            time.sleep(1)
            self._node.expect_running()
            raise Wrong("\n  ".join(["calls went wrong:", *self.calls.wrong[:5]]))

    def _load(self) -> None:
        squeezed = False
        while self._until(0):
            self._round("load")
            if self.calls.since_begin() > _SQUEEZE_S and not squeezed:
                self._disk.fill(_SQUEEZE_LEFT_BYTES)
                squeezed = self._disk.free() <= _SQUEEZE_LEFT_BYTES
        if self.calls.first_507 is None:
            raise Wrong(f"nothing was answered 507, with {self._disk.free() / MIB:.1f} MiB free")
        self._expect_enough("load")

    def _full(self, phase: str, quarters: int) -> None:
        """Keeps the disk full meanwhile. Nothing is granted."""
        say(f"{phase}: {self._disk.free() / MIB:.1f} MiB free")
        granted = None
        while self._until(quarters):
            self._disk.fill(_LEFT_BYTES)
            full = self._round(phase)
            if granted is None and full and self._disk.free() <= _LEFT_BYTES:
                granted = self.calls.seen["granted"]
            if granted is not None and not full:
                raise Wrong(f"with {self._disk.free() / MIB:.1f} MiB free an acquire is granted")
        if granted is None or self.calls.seen["granted"] != granted:
            raise Wrong(f"{self.calls.seen['granted']} acquires are granted, {granted} when the disk was full")
        self._expect_enough(phase)

    def _expect_enough(self, phase: str) -> None:
        for what, seen, least in (("releases", self.probes.releases[phase], _RELEASES_AT_507_MIN),
                                  ("expiries", self.probes.expiries[phase], _EXPIRIES_AT_507_MIN)):
            if seen < least:
                raise Wrong(f"{phase}: {seen} {what} were seen at 507, of at least {least}")

    def _restart(self, how: signal.Signals) -> None:
        self._node.stop(how)
        while self._disk.free() > _LEFT_BYTES:
            self._disk.fill(_LEFT_BYTES)
        free = self._disk.free() / MIB
        took = self._node.start()
        self.restarts.append(f"{how.name} ready after {took:.1f} s")
        say(f"{how.name} and a start with {free:.1f} MiB free: ready after {took:.1f} s")

    def _room(self) -> None:
        """Gives the filler's room back, and waits until it grants."""
        say(f"room: the filler of {self._disk.filler_bytes() / MIB:.1f} MiB is deleted")
        granted, begun = self.calls.seen["granted"], time.monotonic()
        self._disk.give_back()
        while self.calls.seen["granted"] == granted:
            if time.monotonic() - begun > _GRANT_AGAIN_MAX_S:
                raise Wrong(f"{_GRANT_AGAIN_MAX_S:.0f} s after the filler was deleted nothing is granted, with "
                            f"{self._disk.free() / MIB:.1f} MiB free:\n{self._node.last_words()}")
            self._round("room")
        self.granted_again = time.monotonic() - begun
        say(f"it grants {self.granted_again:.1f} s after that")
        while self._until(4):
            self._round("room")

    def table(self) -> str:
        seen, phases = self.calls.seen, ("load", "nearly nothing", "stop", "kill", "room")
        by_phase = {name: ", ".join(f"{phase} {counts[phase]}" for phase in phases)
                    for name, counts in (("releases", self.probes.releases), ("expiries", self.probes.expiries))}
        lines = self._node.log_lines
        rows = [
            ("acquires granted", seen["granted"]),
            ("acquires answered 507", seen["507"]),
            ("first 507", "never" if self.calls.first_507 is None else f"at {self.calls.first_507:.1f} s"),
            ("releases at 507", by_phase["releases"]),
            ("expiries at 507", by_phase["expiries"]),
            ("restarts without room", ", ".join(self.restarts) or "none"),
            ("granted again", "never" if self.granted_again is None else f"{self.granted_again:.1f} s after room"),
            ("checkpoints", f"{lines(': checkpoint group')} made, {lines('checkpoint deferred')} put off, "
                            f"{lines('checkpoint given up')} given up"),
            ("checkpoints on disk", f"at most {self.state_bytes_max / MIB:.1f} MiB, "
                                    f"now {self._disk.bytes_in('state') / MIB:.1f} MiB"),
            ("log on disk", f"at most {self.log_bytes_max / MIB:.1f} MiB, "
                            f"now {self._disk.bytes_in('log') / MIB:.1f} MiB"),
        ]
        return "\n".join(f"  {name:<22} {value}" for name, value in rows)


def say(text: str) -> None:
    print(f"full-disk: {text}", flush=True)


def ended(number: int, _frame: Any) -> None:
    sys.exit(128 + number)


def start_again(node: Node) -> str:
    """What came of a start after the node had ended by itself."""
    try:
        return f"ready after {node.start():.1f} s"
    except Wrong as error:
        return str(error)


def main() -> int:
    folder, binary, seconds, callers = sys.argv[1:]
    disk = Disk(Path(folder))
    node = Node(binary, disk, Path(binary).parent / "node.log")
    run = Run(disk, node, int(seconds))
    signal.signal(signal.SIGTERM, ended)
    try:
        run.all(int(callers))
    except Wrong as error:
        print(run.table(), flush=True)
        say(f"wrong after {run.calls.since_begin():.1f} s, with {disk.free() / MIB:.1f} MiB free: {error}")
        if node.has_ended():
            say(f"started again: {start_again(node)}")
        return 1
    else:
        print(run.table(), flush=True)
        say("all is well")
        return 0
    finally:
        node.end()


if __name__ == "__main__":
    sys.exit(main())
