"""Calls over HTTP that are written down before and after, on connections that are kept."""
from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

from history import History

# A problem with one of these codes leaves open whether the call had its effect.
_DOUBTFUL = ("unknown-outcome", "shutting-down")
# Of what an answer says, this is written down.
_SAID = ("state", "expires_in_ms", "charged", "position", "refunded", "debited", "version", "code", "violated")
_IDLE_MAX = 64


@dataclass
class Answer:
    """What became of a call."""

    outcome: str
    status: int = 0
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))


class Connection:
    """One connection, for one call at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def exchange(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        content = await self._reader.readexactly(int(fields.get("content-length", "0")))
        return int(head[0].split()[1]), fields, content

    def close(self) -> None:
        self._writer.close()


class Caller:
    """Calls nodes and writes it down."""

    def __init__(self, places: dict[int, str], history: History) -> None:
        self.places = places
        self._history = history
        self._idle: dict[int, list[Connection]] = {node: [] for node in places}

    def find(self, places: dict[int, str]) -> None:
        """Goes by other places from now on."""
        self.places = places
        for node in places:
            self._idle.setdefault(node, [])

    async def call(self, node: int, method: str, path: str, body: dict[str, Any], within_s: float,
                   key: str | None = None, **record: Any) -> Answer:
        """One call; one that is cancelled is broken off and stays without an outcome."""
        number = self._history.call(node=node, **({"key": key} if key else {}), **record)
        try:
            answer = await asyncio.wait_for(self._exchange(node, method, path, body, key), within_s)
        except (OSError, EOFError, ValueError, asyncio.TimeoutError, asyncio.LimitOverrunError):
            answer = Answer("unknown")
        said = {name: answer.body.get(name) for name in _SAID}
        self._history.outcome(number, answer.outcome, status=answer.status or None, lease=answer.body.get("id"),
                              token=answer.body.get("fencing_token"), index=answer.body.get("log_index"), **said)
        return answer

    async def _exchange(self, node: int, method: str, path: str, body: dict[str, Any], key: str | None) -> Answer:
        content = b"" if method == "GET" else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.places[node]}\r\nContent-Type: application/json\r\n"
        head += f"Idempotency-Key: {key}\r\n" if key else ""
        head += f"Content-Length: {len(content)}\r\n\r\n"
        connection = await self._connection(node)
        try:
            status, fields, content = await connection.exchange(head.encode() + content)
        except BaseException:
            connection.close()
            raise
        if fields.get("connection", "").lower() == "close" or len(self._idle[node]) >= _IDLE_MAX:
            connection.close()
        else:
            self._idle[node].append(connection)
        said = json.loads(content) if content else {}
        if "ratequeue-log-index" in fields:
            said["log_index"] = int(fields["ratequeue-log-index"])
        return Answer(_outcome(status, said), status, said)

    async def _connection(self, node: int) -> Connection:
        if self._idle[node]:
            return self._idle[node].pop()
        host, port = self.places[node].rsplit(":", 1)
        return Connection(*await asyncio.open_connection(host, int(port)))

    def forget(self, node: int) -> None:
        """Closes what is kept to a node: after a fault it may be dead without a word."""
        for connection in self._idle[node]:
            with contextlib.suppress(OSError):
                connection.close()
        self._idle[node].clear()


def _outcome(status: int, said: dict[str, Any]) -> str:
    if status < 300:
        return "ok"
    if status < 500 or ("code" in said and said["code"] not in _DOUBTFUL):
        return "refused"
    return "unknown"
