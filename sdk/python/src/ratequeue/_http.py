"""How httpx is used: one place for its options and its errors."""

from __future__ import annotations

from typing import Any

import httpx

from ._retry import Send
from ._settings import Settings
from ._wire import Answer, NoAnswer

CONNECT_TIMEOUT = 2.0
KEEPALIVE = 60.0
"""Seconds for which an idle connection is kept; the server closes it after 75."""


def options(settings: Settings) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE)
    return {"headers": settings.headers, "verify": settings.tls, "limits": limits, "timeout": None}


def request(send: Send) -> dict[str, Any]:
    connect = min(CONNECT_TIMEOUT, send.timeout)
    return {
        "method": send.call.method,
        "url": send.url + send.call.path,
        "content": send.call.body,
        "headers": send.call.headers,
        "timeout": httpx.Timeout(send.timeout, connect=connect, pool=None),
    }


def answer(send: Send, response: httpx.Response, sent: float) -> Answer:
    return Answer(send.url, response.status_code, response.headers, response.content, sent)


def no_answer(send: Send, error: httpx.HTTPError) -> NoAnswer:
    unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol))
    return NoAnswer(send.url, str(error) or type(error).__name__, unsent)
