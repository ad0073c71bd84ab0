"""A small API with limits, for the examples: it answers 429 to calls that exceed them, and counts those.

It takes ``POST /v1/chat/completions``, wants at most SLOTS calls at once and UNITS tokens in any window of WINDOW seconds, and
answers like OpenAI.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import ratequeue

SLOTS = 3
UNITS = 6000
WINDOW = 2.0
LATE = 1.5
"""Seconds by which a call may come later than its grant, on a busy machine."""
WORK = 0.05
"""Seconds that a call takes."""


class Provider:
    """The limits, and the calls that they admitted and refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._charges: deque[tuple[float, int]] = deque()
        self._at_once = 0
        self.served = 0
        self.refused = 0
        self.url = ""

    def enter(self, tokens: int) -> bool:
        now = time.monotonic()
        with self._lock:
            while self._charges and self._charges[0][0] <= now - WINDOW:
                self._charges.popleft()
            if self._at_once >= SLOTS or sum(units for _, units in self._charges) + tokens > UNITS:
                self.refused += 1
                return False
            self._charges.append((now, tokens))
            self._at_once += 1
            self.served += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self._at_once -= 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: Provider

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        tokens = int(body.get("max_tokens", 1000))
        if not self.provider.enter(tokens):
            self._answer(429, {"error": {"message": "Rate limit reached", "code": "rate_limit_exceeded"}})
            return
        time.sleep(WORK)
        self.provider.leave()
        usage = {"prompt_tokens": tokens // 2, "completion_tokens": tokens - tokens // 2, "total_tokens": tokens}
        message = {"role": "assistant", "content": "Hello."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._answer(200, {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def running() -> Iterator[Provider]:
    """Runs a provider on a free port."""
    provider = Provider()
    handler = type("Handler", (_Handler,), {"provider": provider})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    provider.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


LIMITS: dict[str, ratequeue.LimitSettings] = {
    # A window longer than the provider's, by the time that may pass between a grant and the provider's own counting.
    "tpm": {"kind": "rate", "quota": UNITS, "window_ms": int((WINDOW + LATE) * 1000)},
    "slots": {"kind": "concurrency", "quota": SLOTS},
}
"""The provider's limits, as a RateQueue resource has them."""


def summary(provider: Provider) -> None:
    """Prints the counts; fails when the provider had to refuse a call."""
    print(f"served {provider.served}, refused {provider.refused}")
    assert provider.served > 0
    assert provider.refused == 0, "the provider's limits were exceeded"
