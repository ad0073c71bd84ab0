"""Runs the table of rules of ``sdk/conformance`` against both clients. See the README there."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from cluster import nowhere

import ratequeue
from ratequeue.aio import AsyncClient

ROWS = json.loads((Path(__file__).parents[2] / "conformance" / "rules.json").read_text())
ID = "g.1"
PATIENCE = 2.0
QUIET = 0.5
"""Seconds in which nothing more may come."""
DEADLINE = 30.0
WELL = {"acquire": "200 held", "extend": "200 held", "release": "200 released"}


class Fake:
    """The nodes of one row."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.over = False
        """True once the call has ended: from then on all nodes are well."""
        self.seen: list[tuple[str, str, str, dict[str, Any], bool]] = []
        """Node, kind of request, key, body without ``hold_ms``, and whether it came after the end of the call."""
        self._asked: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._sockets: list[socket.socket] = []
        self.urls: list[str] = []
        for name in sorted({"a", *(set(row) & {"a", "b", "c"}), *row.get("down", [])}):
            if name in row.get("down", []):
                self.urls.append(nowhere(len(self.urls)))
                continue
            listener = socket.create_server(("127.0.0.1", 0), backlog=64)
            self._sockets.append(listener)
            self.urls.append(f"http://127.0.0.1:{listener.getsockname()[1]}")
            threading.Thread(target=self._accept, args=(name, listener), daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        for listener in self._sockets:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def kinds(self, kind: str, over: Optional[bool] = None) -> list[str]:
        """Returns the nodes that got such requests, in order."""
        with self._lock:
            return [seen[0] for seen in self.seen if seen[1] == kind and over in (None, seen[4])]

    def _accept(self, name: str, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(name, connection), daemon=True).start()

    def _serve(self, name: str, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                for path, key, body in requests(stream):
                    if not self._reply(connection, self._take(name, path, key, body)):
                        return
            except OSError:
                return

    def _take(self, name: str, path: str, key: str, body: dict[str, Any]) -> str:
        kind = path.rpartition("/")[2]
        with self._lock:
            self.seen.append((name, kind, key, {k: v for k, v in body.items() if k != "hold_ms"}, self.over))
            script = self.row.get(name, {}).get(kind)
            if script is None or (self.over and kind == "acquire"):
                return WELL[kind]
            nth = self._asked[name, kind] = self._asked.get((name, kind), -1) + 1
            return str(script[min(nth, len(script) - 1)])

    def _reply(self, connection: socket.socket, reply: str) -> bool:
        """Plays a reply; returns whether the connection goes on."""
        if reply.startswith("after "):
            after, _, reply = reply[len("after ") :].partition(": ")
            self._closing.wait(int(after) / 1000)
        if reply == "hang":
            self._closing.wait()
        elif reply == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        elif reply == "cut-head":
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-le")
        elif reply == "cut-body":
            connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"id":')
        elif reply != "cut":
            connection.sendall(answer(reply, self.row.get("ttl_ms", 60_000)))
            return True
        return False


def requests(stream: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    while line := stream.readline():
        path, headers = line.split()[1].decode(), {}
        while (header := stream.readline().strip()) != b"":
            name, _, value = header.partition(b":")
            headers[name.decode().lower()] = value.strip().decode()
        body = stream.read(int(headers.get("content-length", 0)))
        yield path, headers.get("idempotency-key", ""), json.loads(body or b"{}")


def answer(reply: str, ttl_ms: int) -> bytes:
    status, _, what = reply.partition(" ")
    lease = {"id": ID, "resource": "r", "state": what}
    bodies: dict[str, Any] = {
        "held": {**lease, "fencing_token": 7, "charged": {}, "expires_in_ms": ttl_ms, "waited_ms": 0, "log_index": 3},
        "waiting": {**lease, "position": 1, "load_ahead": 0, "retry_after_ms": 50, "log_index": 3},
        "released": {"id": ID, "state": what, "refunded": {}, "debited": {}},
    }
    problem = {"type": f"/problems/{what}", "title": what, "status": int(status), "code": what, "detail": "as scripted"}
    if what in ("html", "empty"):
        kind, body = "text/html", b"<html>no node</html>" if what == "html" else b""
    else:
        kind, body = "application/json", json.dumps(bodies.get(what, problem)).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nlocation: /elsewhere\r\n\r\n"
    return head.encode() + body


def outcome_of(error: ratequeue.RateQueueError) -> dict[str, Any]:
    if isinstance(error, ratequeue.Unavailable):
        return {"outcome": "unavailable", "no_effect": error.no_effect, "code": error.code}
    if error.code is None:
        return {"outcome": "wait-over" if isinstance(error, ratequeue.WaitTimeout) else "foreign"}
    return {"outcome": "refused", "code": error.code}


def options(row: dict[str, Any]) -> dict[str, Any]:
    ttl = row["ttl_ms"] / 1000 if "ttl_ms" in row else None
    return {"timeout": row.get("wait_ms", 0) / 1000, "ttl": ttl}


def play_sync(row: dict[str, Any], fake: Fake) -> dict[str, Any]:
    with ratequeue.Client(fake.urls, patience=PATIENCE) as client:
        in_background = client._runners.current().in_background

        def after_the_call(make: Callable[[], Any]) -> Any:
            # What is given up is given up beside the caller, who may see the end of its call later than the nodes are asked.
            fake.over = True
            return in_background(make)

        client._runners.current().in_background = after_the_call  # type: ignore[method-assign]
        try:
            with client.acquire("r", **options(row)) as lease:
                client._runners.current().in_background = in_background  # type: ignore[method-assign]
                time.sleep(row.get("hold_ms", 0) / 1000)
                seen = {"outcome": "lost" if lease.lost.is_set() else "held"}
            if row.get("again"):
                before = len(fake.kinds("acquire"))
                with client.acquire("r", timeout=0):
                    seen["asked_again"] = fake.kinds("acquire")[before:]  # type: ignore[assignment]
            return seen
        except ratequeue.RateQueueError as error:
            fake.over = True
            return {**outcome_of(error), "given_up": given_up(row, fake)}


async def play_async(row: dict[str, Any], fake: Fake) -> dict[str, Any]:
    async with AsyncClient(fake.urls, patience=PATIENCE) as client:
        try:
            async with client.acquire("r", **options(row)) as lease:
                await asyncio.sleep(row.get("hold_ms", 0) / 1000)
                seen = {"outcome": "lost" if lease.lost.is_set() else "held"}
            if row.get("again"):
                before = len(fake.kinds("acquire"))
                async with client.acquire("r", timeout=0):
                    seen["asked_again"] = fake.kinds("acquire")[before:]  # type: ignore[assignment]
            return seen
        except ratequeue.RateQueueError as error:
            fake.over = True
            return {**outcome_of(error), "given_up": await asyncio.to_thread(given_up, row, fake)}


def given_up(row: dict[str, Any], fake: Fake) -> str:
    """Returns what is given up after a call that failed, and how."""
    until = time.monotonic() + (QUIET if row["expect"].get("given_up") == "nothing" else DEADLINE)
    while not fake.kinds("release") and time.monotonic() < until:
        time.sleep(0.01)
    if not fake.kinds("release"):
        return "nothing"
    return "by key" if fake.kinds("acquire", True) else "by id"


def check(row: dict[str, Any], kind: str) -> Optional[str]:
    """Plays a row; returns what is wrong with it."""
    fake = Fake(row)
    try:
        seen = asyncio.run(play_async(row, fake)) if kind == "async" else play_sync(row, fake)
    except Exception as error:
        return f"{row['name']}: {error!r}"
    finally:
        fake.close()
    asked = fake.kinds("acquire", False)
    expect = dict(row["expect"])
    if "asked" in expect:
        seen["asked"] = asked[: len(expect["asked"])]
    seen["asked_in_all"], seen["releases"] = len(asked), len(fake.kinds("release"))
    requests_of = {(key, json.dumps(body)) for _, kind, key, body, _ in fake.seen if kind == "acquire"}
    if len(requests_of) > (2 if row.get("again") else 1):
        return f"{row['name']}: one call has one key and one body, not {requests_of}"
    got = {name: seen.get(name) for name in expect}
    return None if got == expect else f"{row['name']}: {got}, not {expect}"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_every_rule_holds(kind: str) -> None:
    assert len(ROWS) >= 60
    with ThreadPoolExecutor(len(ROWS)) as rows:
        wrong = [text for text in rows.map(lambda row: check(row, kind), ROWS) if text is not None]
    assert not wrong, "\n".join(wrong)
