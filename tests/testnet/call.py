"""One HTTP connection to one node, kept open. As little as possible stands between the clock and the wire."""
from __future__ import annotations

import json
import socket
from typing import Any

_ANSWER_MAX_BYTES = 16 << 20


class Caller:
    """Calls one after another over one connection; connects at the first and again after an error."""

    def __init__(self, place: str, timeout_s: float = 10.0) -> None:
        self.place = place
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self._unread = b""

    def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
        """The status and the body of the answer: JSON as what it says, anything else as text."""
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.place}\r\nContent-Type: application/json\r\n"
        head += f"Idempotency-Key: {key}\r\n" if key else ""
        head += f"Content-Length: {len(content)}\r\n\r\n"
        try:
            return self._exchange(head.encode() + content)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._unread = None, b""

    def _exchange(self, request: bytes) -> tuple[int, Any]:
        if self._socket is None:
            address, port = self.place.rsplit(":", 1)
            self._socket = socket.create_connection((address, int(port)), self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        end = self._read_until(lambda: self._unread.find(b"\r\n\r\n") + 1) - 1
        head = self._unread[:end].decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if "transfer-encoding" in fields:
            raise ConnectionError(f"{self.place} answers in chunks, which this caller does not read")
        total = end + 4 + int(fields.get("content-length", "0"))
        self._read_until(lambda: len(self._unread) >= total)
        content, self._unread = self._unread[end + 4:total], self._unread[total:]
        if fields.get("connection", "").lower() == "close":
            self.close()
        is_json = content and "json" in fields.get("content-type", "")
        return int(head[0].split()[1]), json.loads(content) if is_json else content.decode(errors="replace")

    def _read_until(self, done: Any) -> int:
        """Reads until a condition holds, and gives what it gave."""
        assert self._socket is not None
        while not (found := done()):
            data = self._socket.recv(65536)
            if not data or len(self._unread) > _ANSWER_MAX_BYTES:
                raise ConnectionError(f"{self.place} ended the connection in the middle of an answer")
            self._unread += data
        return int(found)
