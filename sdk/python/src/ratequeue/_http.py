"""How httpx is used: one place for its options and its errors."""

from __future__ import annotations

from typing import Any, Callable

import httpx

from ._retry import Send
from ._settings import Settings
from ._wire import Answer, NoAnswer
from .errors import ConfigurationError

CONNECT_TIMEOUT = 2.0
KEEPALIVE = 60.0
"""Seconds for which an idle connection is kept; the server closes it after 75."""


def options(settings: Settings, transport: Callable[..., Any]) -> dict[str, Any]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEPALIVE)
    # Nodes are near, and the API key is theirs alone: a proxy of the environment, meant for other hosts, is not asked.
    how = {"verify": settings.tls, "limits": limits, "trust_env": False}
    if settings.proxy is not None:
        how["transport"] = transport(proxy=httpx.Proxy(settings.proxy), **how)
    return {"headers": settings.headers, "timeout": None, **how}


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
    if isinstance(error, (httpx.LocalProtocolError, httpx.UnsupportedProtocol)):
        raise ConfigurationError(f"{send.url} cannot be asked: {error}. Check base_url and api_key.") from error
    unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    late = isinstance(error, httpx.TimeoutException)
    return NoAnswer(send.url, str(error) or type(error).__name__, unsent, late)
