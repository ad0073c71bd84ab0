"""The relay between regions: a process in the router's namespace, told what to do over a unix socket.

    relay.py TAG [UNTIL_PID]     started by net.py up; prints "ready" when it is

A request is one line of JSON ({"do": "rtt", "ms": 80}), and so is its answer. The relay ends when it is asked to. When
its namespace or the process UNTIL_PID is gone, it also takes the whole network down.
"""
from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import struct
import sys
from typing import Any

import layout as names
import network
import system
from crossing import Crossing
from timetable import Timetable

_SO_ORIGINAL_DST = 80
_CROSSINGS_MAX = 4_000
_ACCEPTED_AT_ONCE_MAX = 64
_WATCH_EVERY_S = 0.5


class Relay:
    """All connections between regions, the round trip, and who is cut off."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timetable = Timetable(loop)
        self._rtt_ms = 0.0
        self._half_ns = 0
        self._cut: set[int] = set()
        self._crossings: set[Crossing] = set()
        self._accepted = 0
        self.stopped = asyncio.Event()

    def listen(self) -> None:
        listener = socket.create_server(("0.0.0.0", names.RELAY_PORT), backlog=1024)
        listener.setblocking(False)
        self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTED_AT_ONCE_MAX):
            try:
                near, (address, _port) = listener.accept()
            except OSError:
                return
            self._accepted += 1
            target = _original_target(near)
            source = names.region_of(address)
            if target is None or source == names.region_of(target[0]) or len(self._crossings) >= _CROSSINGS_MAX:
                near.close()
                continue
            crossing = Crossing(near, source, target, self._timetable, lambda: self._half_ns, self._crossings.discard)
            self._crossings.add(crossing)
            if crossing.regions & self._cut:
                crossing.cut()

    def obey(self, request: dict[str, Any]) -> dict[str, Any]:
        """Does what a request asks for and says how things are."""
        wish = request.get("do")
        if wish == "rtt":
            self._rtt_ms = float(request["ms"])
            self._half_ns = int(self._rtt_ms * 500_000)
        elif wish == "cut":
            self._cut |= set(request["regions"])
            for crossing in self._crossings:
                if crossing.regions & self._cut:
                    crossing.cut()
        elif wish == "heal":
            for crossing in [each for each in self._crossings if each.regions & self._cut]:
                crossing.reset()
            self._cut.clear()
        elif wish == "stop":
            self.stopped.set()
        elif wish != "status":
            return {"error": f"cannot do {wish!r}"}
        return {"pid": os.getpid(), "rtt_ms": self._rtt_ms, "cut": sorted(self._cut),
                "connections": len(self._crossings), "connections_total": self._accepted}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            try:
                answer = self.obey(json.loads(await reader.readline()))
            except (ValueError, KeyError, TypeError) as error:
                answer = {"error": f"not a request: {error}"}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()


def _original_target(near: socket.socket) -> tuple[str, int] | None:
    """Where a redirected connection was meant to go; nothing for one that was not redirected."""
    try:
        packed = near.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
        target = (socket.inet_ntoa(packed[4:8]), struct.unpack("!H", packed[2:4])[0])
        return None if target == near.getsockname() else target
    except OSError:
        return None


async def _watch(relay: Relay, tag: str, until_pid: int) -> bool:
    """Waits for the end. Answers whether the network has to be taken down."""
    orphaned = False

    def orphan() -> None:
        nonlocal orphaned
        orphaned = True
        relay.stopped.set()

    if until_pid:
        try:
            asyncio.get_running_loop().add_reader(os.pidfd_open(until_pid), orphan)
        except ProcessLookupError:
            orphan()
    while not relay.stopped.is_set():
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(relay.stopped.wait(), _WATCH_EVERY_S)
        if not system.namespace_exists(names.router(tag)):
            orphan()
    return orphaned


async def _run(tag: str, until_pid: int) -> bool:
    loop = asyncio.get_running_loop()
    relay = Relay(loop)
    relay.listen()
    loop.add_signal_handler(signal.SIGTERM, relay.stopped.set)
    await asyncio.start_unix_server(relay.serve, str(names.state_folder(tag) / "control"))
    print("ready", flush=True)
    # Whoever started it reads that one line only.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return await _watch(relay, tag, until_pid)


def main() -> int:
    tag, until_pid = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    files_max = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))
    with system.inside(names.router(tag)):
        orphaned = asyncio.run(_run(tag, until_pid))
    if orphaned:
        network.take_down(tag)
    return 0


if __name__ == "__main__":
    sys.exit(main())
