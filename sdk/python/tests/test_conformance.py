"""Plays the scenarios of ``sdk/conformance`` for both clients. See the README there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Optional

import pytest
from cluster import nowhere

import ratequeue
from ratequeue import _retry
from ratequeue.aio import AsyncClient

SCENARIOS = json.loads((Path(__file__).parents[2] / "conformance" / "scenarios.json").read_text())
HELD_AT_MOST = 20_000
"""Milliseconds for which a call may be held open: common load balancers cut it after 29 or 30 s."""
HELD_BY_DEFAULT = 30_000
"""Default of older servers."""
ERRORS = {
    ratequeue.Rejected: "rejected",
    ratequeue.WaitTimeout: "wait-timeout",
    ratequeue.QueueFull: "queue-full",
    ratequeue.LoadTooLarge: "load-too-large",
    ratequeue.LeaseLost: "lease-lost",
    ratequeue.Unavailable: "unavailable",
    ratequeue.AuthError: "auth",
    ratequeue.ConfigurationError: "configuration",
    ratequeue.NotFound: "configuration",
    ratequeue.Conflict: "configuration",
}


class Fake:
    """The nodes of one scenario."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.steps: list[dict[str, Any]] = scenario["steps"]
        self.taken = [0] * len(self.steps)
        self.wrong: list[str] = []
        self.acquires: list[tuple[str, dict[str, Any]]] = []
        self._at = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._servers: list[ThreadingHTTPServer] = []
        self.urls: dict[str, str] = {}
        for name in scenario["nodes"]:
            if name in scenario.get("down", []):
                self.urls[name] = nowhere(len(self.urls))
                continue
            server = ThreadingHTTPServer(("127.0.0.1", 0), type("Node", (_Node,), {"fake": self, "name": name}))
            server.daemon_threads = True
            self.urls[name] = f"http://127.0.0.1:{server.server_address[1]}"
            self._servers.append(server)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def step(
        self, node: str, method: str, path: str, headers: Mapping[str, str], body: dict[str, Any]
    ) -> dict[str, Any]:
        """Returns the step that this request takes."""
        with self._lock:
            if path.endswith("/acquire"):
                if body.get("hold_ms", HELD_BY_DEFAULT) > HELD_AT_MOST:
                    self.wrong.append(f"it is held open for too long: {body}")
                without = {name: value for name, value in body.items() if name != "hold_ms"}
                self.acquires.append((headers["idempotency-key"], without))
            why: list[str] = []
            for at in range(self._at, len(self.steps)):
                step = self.steps[at]
                why = self._unlike(step, node, method, path, headers, body)
                if not why and not (self.taken[at] and not step.get("repeat")):
                    self._at, self.taken[at] = at, self.taken[at] + 1
                    return step
                if not (self.taken[at]):
                    break
            self.wrong.append(f"{method} {path} {body} at {node} fits no step: {why}")
            return {"answer": {"status": 500, "body": "no step"}}

    @staticmethod
    def _unlike(
        step: dict[str, Any], node: str, method: str, path: str, headers: Mapping[str, str], body: dict[str, Any]
    ) -> list[str]:
        request = step["request"]
        pairs: list[tuple[str, Any, Any]] = [
            ("at", step.get("at", node), node),
            ("method", request["method"], method),
            ("path", request["path"], path),
        ]
        pairs += [(name, value, body.get(name)) for name, value in request.get("body", {}).items()]
        pairs += [(name, value, headers.get(name.lower())) for name, value in request.get("headers", {}).items()]
        why = [f"{name} is {got!r}, not {want!r}" for name, want, got in pairs if want != got]
        for name, most in request.get("at_most", {}).items():
            if not 0 < (body.get(name) or 0) <= most:
                why.append(f"{name} is {body.get(name)!r}, not over 0 and at most {most}")
        return why

    def pause(self, seconds: float) -> None:
        self._closing.wait(seconds)


class _Node(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: Fake
    name: str

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        content = self.rfile.read(length)
        if len(content) < length:
            # The client was closed in the middle of a call in its background.
            self.close_connection = True
            return
        body = json.loads(content or b"{}")
        step = self.fake.step(
            self.name, self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body
        )
        self.fake.pause(step.get("delay_ms", 0) / 1000)
        if step.get("drop"):
            self.close_connection = True
            return
        answer = step["answer"]
        text = json.dumps(answer["body"]).encode() if isinstance(answer["body"], dict) else answer["body"].encode()
        with contextlib.suppress(OSError):
            self.send_response(answer["status"])
            for name, value in answer.get("headers", {}).items():
                self.send_header(name, value if isinstance(value, str) else self.fake.urls[value["url"]])
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Seen:
    """Outcome that the caller saw."""

    outcome: str = "granted"
    positions: list[int] = field(default_factory=list)
    degraded: bool = False
    fencing_token: Optional[int] = None
    waited_ms: Optional[float] = None
    retry_after_ms: Optional[float] = None
    violated: Optional[list[str]] = None
    no_effect: Optional[bool] = None
    state: Optional[str] = None

    def on_wait(self, position: int, retry_after: float) -> None:
        self.positions.append(position)

    def granted(self, lease: Any) -> None:
        self.fencing_token = lease.fencing_token
        self.degraded = lease.degraded
        self.waited_ms = lease.waited * 1000

    def held(self, lease: Any) -> None:
        try:
            lease.check()
        except ratequeue.LeaseLost:
            assert lease.lost.is_set()
            self.outcome = "lost"

    def failed(self, error: ratequeue.RateQueueError) -> None:
        self.outcome = ERRORS[type(error)]
        after = getattr(error, "retry_after", None)
        self.retry_after_ms = None if after is None else after * 1000
        self.violated = list(getattr(error, "violated", ()))
        self.no_effect = getattr(error, "no_effect", None)
        self.state = getattr(error, "state", None)
        assert len(str(error)) > 20


def arguments(call: dict[str, Any], seen: Seen) -> dict[str, Any]:
    found: dict[str, Any] = {"resource": call["resource"], "on_wait": seen.on_wait}
    for name, argument in (("timeout_ms", "timeout"), ("ttl_ms", "ttl")):
        if name in call:
            found[argument] = call[name] / 1000
    for name, argument in (
        ("load", "load"),
        ("priority", "priority"),
        ("key", "idempotency_key"),
        ("metadata", "metadata"),
    ):
        if name in call:
            found[argument] = call[name]
    return found


def settings(scenario: dict[str, Any], fake: Fake) -> dict[str, Any]:
    given = scenario.get("client", {})
    return {
        "base_url": list(fake.urls.values()),
        "patience": given.get("patience_ms", 10_000) / 1000,
        "on_unavailable": given.get("on_unavailable", "deny"),
        "api_key": given.get("api_key"),
    }


def calls(scenario: dict[str, Any]) -> list[tuple[dict[str, Any], Seen]]:
    return [(call, Seen()) for call in scenario.get("calls") or [scenario["call"]]]


async def play_async(scenario: dict[str, Any], fake: Fake) -> list[Seen]:
    todo = calls(scenario)

    async def run(call: dict[str, Any], seen: Seen, *inner: tuple[dict[str, Any], Seen]) -> None:
        async with client.acquire(**arguments(call, seen)) as lease:
            seen.granted(lease)
            if "used" in call:
                lease.report(call["used"])
            await asyncio.sleep(call.get("hold_ms", 0) / 1000)
            if inner:
                await run(*inner[0], *inner[1:])
            seen.held(lease)

    (call, seen), *inner = todo
    async with AsyncClient(**settings(scenario, fake)) as client:
        try:
            if "cancel_after_ms" in call:
                await asyncio.wait_for(run(call, seen), call["cancel_after_ms"] / 1000)
            else:
                await run(call, seen, *inner)
        except ratequeue.RateQueueError as error:
            # First, for a wait that ran out is a TimeoutError too.
            seen.failed(error)
        except asyncio.TimeoutError:
            seen.outcome = "cancelled"
    return [seen for _, seen in todo]


class Interrupted(BaseException):
    """A stand-in for Ctrl-C."""


def interrupt(scenario: dict[str, Any], client: ratequeue.Client, call: dict[str, Any], seen: Seen) -> None:
    """Interrupts a call as Ctrl-C does, as far as a test can: the connection raises it."""
    send = client._runners.current()._send

    def interrupted(effect: _retry.Send) -> _retry.Reply:
        client._runners.current()._send = send  # type: ignore
        # The node gets the call; its answer is not waited for.
        send(_retry.Send(effect.url, effect.call, call["cancel_after_ms"] / 1000))
        raise Interrupted

    if "delay_ms" in scenario["steps"][0]:
        client._runners.current()._send = interrupted  # type: ignore
        return
    on_wait = seen.on_wait

    def first_told(position: int, retry_after: float) -> None:
        on_wait(position, retry_after)
        client._runners.current()._send = interrupted  # type: ignore

    seen.on_wait = first_told  # type: ignore


def play_sync(scenario: dict[str, Any], fake: Fake) -> list[Seen]:
    todo = calls(scenario)

    def run(call: dict[str, Any], seen: Seen, *inner: tuple[dict[str, Any], Seen]) -> None:
        with client.acquire(**arguments(call, seen)) as lease:
            seen.granted(lease)
            if "used" in call:
                lease.report(call["used"])
            time.sleep(call.get("hold_ms", 0) / 1000)
            if inner:
                run(*inner[0], *inner[1:])
            seen.held(lease)

    (call, seen), *inner = todo
    with ratequeue.Client(**settings(scenario, fake)) as client:
        if "cancel_after_ms" in call:
            interrupt(scenario, client, call, seen)
        try:
            run(call, seen, *inner)
        except Interrupted:
            seen.outcome = "cancelled"
        except ratequeue.RateQueueError as error:
            seen.failed(error)
    return [seen for _, seen in todo]


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario["name"] for scenario in SCENARIOS])
def test_scenario(scenario: dict[str, Any], kind: str) -> None:
    fake = Fake(scenario)
    began = time.monotonic()
    try:
        all_seen = asyncio.run(play_async(scenario, fake)) if kind == "async" else play_sync(scenario, fake)
    finally:
        took = (time.monotonic() - began) * 1000
        fake.close()
    assert fake.wrong == []
    expect = {"degraded": False, "positions": [], "outcome": "granted", **scenario["expect"]}
    within = expect.pop("within_ms", 30_000)
    for seen in all_seen:
        assert {name: getattr(seen, name) for name in expect} == expect
    assert took <= within
    assert [step for step, taken in zip(fake.steps, fake.taken) if not taken] == []
    body_of_key = dict(fake.acquires)
    assert len(body_of_key) <= len(all_seen)
    assert all(body == body_of_key[key] for key, body in fake.acquires)
