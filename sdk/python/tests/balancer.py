"""A load balancer that cuts calls which were idle for too long."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Optional

HOW = ("reset", "eof", "gateway timeout")
_504 = (
    b"HTTP/1.1 504 Gateway Timeout\r\ncontent-type: text/html\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>"
)


class Balancer:
    """A proxy of a node. A call that is not answered within ``after`` seconds is cut; idle connections are kept."""

    def __init__(self, node: str, how: str, after: float) -> None:
        host, _, port = node[len("http://") :].rpartition(":")
        self._node = (host, int(port))
        self._how = how
        self._after = after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        self.calls = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._node) as node, contextlib.suppress(OSError):
            asked: Optional[float] = None
            while True:
                left = None if asked is None else max(0.0, asked + self._after - time.monotonic())
                ready, _, _ = select.select([client, node], [], [], left)
                if not ready:
                    self.cuts += 1
                    self._cut(client)
                    return
                if client in ready:
                    data = client.recv(65536)
                    if not data:
                        return
                    self.calls += asked is None
                    asked = time.monotonic()
                    node.sendall(data)
                if node in ready:
                    data = node.recv(65536)
                    if not data:
                        return
                    asked = None
                    client.sendall(data)

    def _cut(self, client: socket.socket) -> None:
        if self._how == "reset":
            # To close it without lingering sends a reset.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self._how == "gateway timeout":
            client.sendall(_504)


@contextmanager
def balancing(node: str, how: str, after: float) -> Iterator[Balancer]:
    balancer = Balancer(node, how, after)
    try:
        yield balancer
    finally:
        balancer.close()
