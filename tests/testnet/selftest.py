#!/usr/bin/env python3
"""Tries the test network itself: selftest.py, as root, in less than 30 s. Exit code 0 when all is well, else 1.

Each check is a function that raises Wrong; echo servers stand in for nodes.
"""
from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import layout as names
import net
import roundtrip
import system
from layout import Layout

_REGIONS, _NODES = 3, 2
# Until silence counts as silence.
_SILENCE_S = 0.4
_HEALED_WITHIN_S = 1.0


class Wrong(Exception):
    """What was expected, and what was there."""


def expect(true: bool, what: str) -> None:
    if not true:
        raise Wrong(what)


@contextlib.contextmanager
def network(tag: str, rtt_ms: float, regions: int = _REGIONS) -> Iterator[Layout]:
    state = net.up(tag, regions, _NODES, rtt_ms, os.getpid())
    try:
        yield Layout.from_json(state)
        log = (names.state_folder(tag) / "relay.log").read_text()
        expect(not log, f"the relay logged: {log[-1000:]}")
    finally:
        net.down(tag)


@contextlib.contextmanager
def pair(plan: Layout, source: int, target: int) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection between two regions that has carried something already, as both its ends."""
    address = plan.nodes_of(target)[0].peer_ip
    with system.inside(plan.namespace(target)):
        listener = socket.create_server((address, 0))
    with listener, roundtrip.connect(plan.namespace(source), address, listener.getsockname()[1]) as near:
        near.sendall(b"a")
        listener.settimeout(5)
        far, _ = listener.accept()
        with far:
            far.settimeout(5)
            expect(far.recv(9) == b"a", "the first byte did not arrive")
            far.sendall(b"b")
            expect(near.recv(9) == b"b", "the first answer did not arrive")
            yield near, far


def expect_silence(*ends: socket.socket) -> None:
    """Neither data nor an end of the connection arrives, and nobody takes what was sent."""
    for end in ends:
        end.settimeout(_SILENCE_S)
        try:
            got: Any = end.recv(9)
        except socket.timeout:
            got = None
        except OSError as error:
            got = error
        expect(got is None, f"silence was expected, but {got!r} arrived")


def untaken_bytes(end: socket.socket) -> int:
    """What was sent and not yet acknowledged by the other side's system."""
    return int(struct.unpack("i", fcntl.ioctl(end, termios.TIOCOUTQ, b"\0" * 4))[0])


def check_round_trips(plan: Layout) -> str:
    figures = []
    for rtt_ms, count in ((0, 300), (10, 20), (80, 5), (150, 3)):
        net.set_rtt(plan.tag, rtt_ms)
        for each, median in roundtrip.between_regions_ms(plan, count).items():
            expect(rtt_ms <= median <= rtt_ms + 5, f"{each} took {median:.2f} ms instead of {rtt_ms}")
        figures.append(f"{rtt_ms}: {median:.2f}")
    node = plan.nodes_of(1)[1]
    with roundtrip.echo(plan.namespace(1), node.peer_ip):
        inside = statistics.median(roundtrip.measure_ms(plan.namespace(1), node.peer_ip, 100))
    expect(inside < 2, f"inside a region a message took {inside:.2f} ms")
    return f"asked for: measured ms: {', '.join(figures)}; inside a region {inside:.3f}"


def check_overhead(plan: Layout) -> str:
    """At a round trip of 0, against the same message straight from the router."""
    net.set_rtt(plan.tag, 0)
    address, space = plan.nodes_of(2)[0].peer_ip, plan.namespace(2)
    direct, relayed = [], []
    with roundtrip.echo(space, address):
        for _ in range(5):
            direct += roundtrip.measure_ms(plan.router, address, 200)
            relayed += roundtrip.measure_ms(plan.namespace(1), address, 200)
    own = statistics.median(relayed) - statistics.median(direct)
    expect(own < 2, f"the relay adds {own:.2f} ms of its own")
    return f"the relay adds {own:.3f} ms to a round trip ({statistics.median(direct):.3f} without it)"


def check_rate(plan: Layout) -> str:
    """Many connections at once: messages there and back in a second, two for each round trip."""
    net.set_rtt(plan.tag, 0)
    address, trips = plan.nodes_of(2)[0].peer_ip, []
    until = time.monotonic() + 1.0

    def client() -> None:
        with contextlib.closing(roundtrip.connect(plan.namespace(1), address)) as connection:
            while time.monotonic() < until:
                trips.append(roundtrip.once_ms(connection))

    with roundtrip.echo(plan.namespace(2), address):
        threads = [threading.Thread(target=client) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expect(len(trips) > 1000, f"only {2 * len(trips)} messages a second went through")
    return f"{2 * len(trips)} messages a second over 8 connections"


def check_connecting(plan: Layout) -> str:
    """A new connection costs a round trip before its first message, and a refused one is refused."""
    net.set_rtt(plan.tag, 50)
    address = plan.nodes_of(2)[0].peer_ip
    with roundtrip.echo(plan.namespace(2), address):
        start = time.monotonic()
        with contextlib.closing(roundtrip.connect(plan.namespace(1), address)) as connection:
            roundtrip.once_ms(connection)
        took_ms = (time.monotonic() - start) * 1000
    expect(100 <= took_ms <= 120, f"connecting and one message took {took_ms:.1f} ms instead of 100")
    with contextlib.closing(roundtrip.connect(plan.namespace(1), address, 7999)) as refused:
        with contextlib.suppress(ConnectionError):
            expect(refused.recv(1) == b"", "a port without a server answered")
    return f"connecting and one message at 50 ms: {took_ms:.1f} ms"


def check_ends(plan: Layout) -> str:
    """The end of a stream, and a reset, arrive half a round trip later and after all data."""
    net.set_rtt(plan.tag, 60)
    with pair(plan, 1, 2) as (near, far):
        start = time.monotonic()
        near.sendall(b"last")
        near.shutdown(socket.SHUT_WR)
        expect(far.recv(9) == b"last" and far.recv(9) == b"", "data or the end of the stream is missing")
        took_ms = (time.monotonic() - start) * 1000
        expect(30 <= took_ms <= 45, f"the end took {took_ms:.1f} ms instead of 30")
        far.sendall(b"still")
        expect(near.recv(9) == b"still", "a stream that is closed on one side only must go on on the other")
    with pair(plan, 1, 2) as (near, far):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        near.close()
        try:
            expect(False, f"a reset was expected, but {far.recv(9)!r} arrived")
        except ConnectionResetError:
            pass
    return f"the end of a stream at 60 ms: {took_ms:.1f} ms"


def check_order(plan: Layout) -> str:
    """Data keeps its order when the round trip falls while it is on its way."""
    net.set_rtt(plan.tag, 300)
    with pair(plan, 1, 2) as (near, far):
        near.sendall(b"first,")
        net.set_rtt(plan.tag, 0)
        near.sendall(b"second")
        got = b""
        while len(got) < 12:
            got += far.recv(12)
        expect(got == b"first,second", f"{got!r} arrived")
    return "first in, first out, also when the round trip falls"


def check_backpressure(plan: Layout) -> str:
    """Nobody reads: the sender is stopped. Then somebody does, and everything arrives."""
    net.set_rtt(plan.tag, 20)
    with pair(plan, 1, 2) as (near, far):
        near.settimeout(0.5)
        sent = 0
        with contextlib.suppress(socket.timeout):
            while sent < 1 << 28:
                sent += near.send(b"\0" * 65536)
        expect(sent < 64 << 20, f"{sent >> 20} MiB went nowhere")
        near.shutdown(socket.SHUT_WR)
        got = 0
        while data := far.recv(1 << 20):
            got += len(data)
        expect(got == sent, f"{got} of {sent} bytes arrived")
    return f"a sender whose data nobody reads is stopped after {sent >> 20} MiB, none is lost"


def check_cut(plan: Layout) -> str:
    """Region 3 is cut off: nothing passes, nobody is told, the others go on, and after healing all is well."""
    net.set_rtt(plan.tag, 100)
    with pair(plan, 1, 3) as (a, b), pair(plan, 3, 2) as (c, d), pair(plan, 1, 2) as (e, f):
        a.sendall(b"on its way")
        net.cut(plan.tag, [3])
        for end in (a, b, c, d):
            end.sendall(b"lost")
        expect_silence(a, b, c, d)
        for end in (a, b, c, d):
            expect(untaken_bytes(end) >= 4, "the router took something that was sent after the cut")
        e.sendall(b"through")
        f.settimeout(2)
        expect(f.recv(9) == b"through", "regions that are not cut off must reach each other")
        expect_no_connection(plan, 1, 3)
        expect_no_connection(plan, 3, 2)
        start = time.monotonic()
        net.heal(plan.tag)
        for end in (a, b, c, d):
            expect_reset(end)
        reset_ms = (time.monotonic() - start) * 1000
    with pair(plan, 1, 3), pair(plan, 3, 2):
        healed_s = time.monotonic() - start
    expect(healed_s < _HEALED_WITHIN_S, f"new connections took {healed_s:.2f} s")
    return f"silent in all directions; healed: old ones reset after {reset_ms:.0f} ms, new ones in {healed_s:.2f} s"


def expect_no_connection(plan: Layout, source: int, target: int) -> None:
    with system.inside(plan.namespace(source)):
        connection = socket.socket()
    with connection:
        connection.settimeout(_SILENCE_S)
        code = connection.connect_ex((plan.nodes_of(target)[0].peer_ip, roundtrip.ECHO_PORT))
    expect(code == errno.EAGAIN, f"connecting to a region that is cut off: {errno.errorcode.get(code, 'it worked')}")


def expect_reset(end: socket.socket) -> None:
    end.settimeout(_HEALED_WITHIN_S)
    try:
        expect(False, f"after healing {end.recv(9)!r} arrived on a connection that had been cut")
    except ConnectionResetError:
        pass


def check_cut_all(plan: Layout) -> str:
    """Every region is alone, inside it nothing changes, and from outside each node is reached."""
    net.set_rtt(plan.tag, 20)
    with pair(plan, 1, 2) as (a, b), pair(plan, 2, 3) as (c, d):
        net.cut_all(plan.tag)
        for end in (a, b, c, d):
            end.sendall(b"lost")
        expect_silence(a, b, c, d)
        for region in plan.region_numbers():
            node = plan.nodes_of(region)[1]
            for address, source in ((node.peer_ip, plan.namespace(region)), (node.http_ip, None)):
                with roundtrip.echo(plan.namespace(region), address):
                    expect(echo_from(source, address) < 20, f"{address} is slow")
        net.heal(plan.tag)
    with pair(plan, 1, 2), pair(plan, 2, 3), pair(plan, 3, 1):
        return "every region alone; inside it and from outside all is as ever"


def echo_from(namespace: str | None, address: str) -> float:
    if namespace is not None:
        return roundtrip.measure_ms(namespace, address, 1)[0]
    with socket.create_connection((address, roundtrip.ECHO_PORT), 2) as connection:
        return roundtrip.once_ms(connection)


def check_no_way_around(plan: Layout) -> str:
    """Regions do not reach each other over HTTP addresses: that would be neither delayed nor cut."""
    node = plan.nodes_of(2)[0]
    with roundtrip.echo(plan.namespace(2), node.http_ip), system.inside(plan.namespace(1)):
        connection = socket.socket()
        with connection:
            connection.settimeout(_SILENCE_S)
            code = connection.connect_ex((node.http_ip, roundtrip.ECHO_PORT))
    expect(code != 0, "region 1 reached region 2 over its HTTP address")
    return "HTTP addresses are reached from outside only"


def check_side_by_side(plan: Layout) -> str:
    """A second network: its own round trip, its own cuts, the same peer addresses."""
    other_tag = f"{plan.tag}b"
    net.set_rtt(plan.tag, 20)
    with network(other_tag, 0, regions=2) as other:
        net.cut(plan.tag, [2])
        quick = roundtrip.between_regions_ms(other, 5)["1-2"]
        expect(quick < 5, f"the second network took {quick:.1f} ms instead of 0")
        net.heal(plan.tag)
        slow = roundtrip.between_regions_ms(plan, 3)["1-2"]
        expect(20 <= slow < 25, f"the first network took {slow:.1f} ms instead of 20")
        try:
            net.up(other_tag, 1, 1, 0)
            raise Wrong("a tag was given twice")
        except names.Failed:
            pass
    expect_nothing_left(other_tag)
    return f"two networks at once, 0 and 20 ms: {quick:.2f} and {slow:.2f}"


def check_orphan(plan: Layout) -> str:
    """The process that a network belongs to dies: so does the network, with all that runs in it."""
    tag = f"{plan.tag}c"
    owner = subprocess.Popen(["sleep", "60"])
    try:
        net.up(tag, 2, 1, 0, owner.pid)
        guest = subprocess.Popen(["ip", "netns", "exec", f"{tag}r1", "sleep", "60"])
        # Until it has entered the namespace it is not in it.
        wait_until(lambda: str(guest.pid) in system.ip(f"netns pids {tag}r1").split(), "the guest is inside")
        start = time.monotonic()
    finally:
        owner.kill()
        owner.wait()
    guest.wait(timeout=5)
    wait_until(lambda: not names.state_folder(tag).exists(), "the network is gone")
    expect_nothing_left(tag)
    return f"gone {(time.monotonic() - start) * 1000:.0f} ms after its owner, with what ran in it"


def wait_until(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 5
    while not true():
        expect(time.monotonic() < until, f"5 s passed before {what}")
        time.sleep(0.02)


def expect_nothing_left(tag: str) -> None:
    left = [name for name in system.namespaces() if names.is_namespace_of(tag, name)]
    expect(not left, f"namespaces are left: {left}")
    links = [line for line in system.ip("-o link").splitlines() if f": {tag}@" in line or f": {tag}:" in line]
    expect(not links, f"interfaces are left: {links}")
    expect(not names.state_folder(tag).exists(), "the state folder is left")
    # Nothing is left to do, and that is fine.
    net.down(tag)


_CHECKS = (check_round_trips, check_overhead, check_rate, check_connecting, check_ends, check_order, check_backpressure,
           check_cut, check_cut_all, check_no_way_around, check_side_by_side, check_orphan)


def main() -> int:
    start, failed = time.monotonic(), 0
    tag = f"st{os.getpid()}"
    try:
        with network(tag, 80) as plan:
            for check in _CHECKS:
                name = check.__name__[len("check_"):].replace("_", " ")
                try:
                    print(f"ok     {name}: {check(plan)}", flush=True)
                except (Wrong, OSError) as error:
                    failed += 1
                    print(f"WRONG  {name}: {error}", flush=True)
                    # The next check starts from a network that is whole.
                    net.heal(tag)
        expect_nothing_left(tag)
    except (Wrong, names.Failed) as error:
        failed += 1
        print(f"WRONG  {error}")
    print(f"{failed or 'nothing'} wrong, {time.monotonic() - start:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
