"""Measures what a message and its answer cost between two namespaces, over a TCP connection that is open already.

    roundtrip.py TAG [COUNT]     the median from region 1 to each other region of a network that is up, in ms

The sockets live in the regions' namespaces, the code that uses them here.
"""
from __future__ import annotations

import contextlib
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator

import control
import layout as names
import system

# Beside a node's own ports.
ECHO_PORT = 7801
_MESSAGE = b"x" * 64
_PATIENCE_S = 5.0


@contextlib.contextmanager
def echo(namespace: str, address: str, port: int = ECHO_PORT) -> Iterator[None]:
    """Within it, a server in a namespace sends back whatever it gets."""
    with system.inside(namespace):
        listener = socket.create_server((address, port))
    served: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                served.append(listener.accept()[0])
                threading.Thread(target=serve, args=(served[-1],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        for each in (listener, *served):
            # Closing alone would not wake a thread that waits.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def connect(namespace: str, address: str, port: int = ECHO_PORT) -> socket.socket:
    """A connection out of a namespace."""
    with system.inside(namespace):
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(_PATIENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        connection.connect((address, port))
    except OSError:
        connection.close()
        raise
    return connection


def once_ms(connection: socket.socket, message: bytes = _MESSAGE) -> float:
    """One message there and its echo back."""
    start = time.perf_counter_ns()
    connection.sendall(message)
    missing = len(message)
    while missing:
        data = connection.recv(missing)
        if not data:
            raise ConnectionError("the echo ended")
        missing -= len(data)
    return (time.perf_counter_ns() - start) / 1e6


def measure_ms(namespace: str, address: str, count: int, port: int = ECHO_PORT) -> list[float]:
    """Round trips over one connection. The first, which also pays for connecting, is left out."""
    with contextlib.closing(connect(namespace, address, port)) as connection:
        once_ms(connection)
        return [once_ms(connection) for _ in range(count)]


def between_regions_ms(plan: names.Layout, count: int) -> dict[str, float]:
    """The median from region 1 to each other region of a network."""
    medians = {}
    for region in list(plan.region_numbers())[1:]:
        target = plan.nodes_of(region)[0].peer_ip
        with echo(plan.namespace(region), target):
            trips = measure_ms(plan.namespace(1), target, count)
        medians[f"1-{region}"] = statistics.median(trips)
    return medians


def main() -> int:
    if len(sys.argv) < 2:
        print("usage: roundtrip.py TAG [COUNT]", file=sys.stderr)
        return 2
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    try:
        for pair, median in between_regions_ms(control.recall(sys.argv[1]), count).items():
            print(f"{pair}  {median:.2f} ms")
    except (names.Usage, names.Failed, OSError) as error:
        print(f"roundtrip.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
