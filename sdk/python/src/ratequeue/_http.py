"""Use of httpx: options, requests, answers and errors. Its transports are used without its clients, which log each request."""

from __future__ import annotations

from typing import Callable, TypeVar

import httpx

from ._connections import IDLE_FOR
from ._retry import Send
from ._settings import Settings
from ._wire import Answer, NoAnswer
from .errors import ConfigurationError

CONNECT_TIMEOUT = 2.0
T = TypeVar("T")


def transport(settings: Settings, make: Callable[..., T]) -> T:
    """Makes a connection (see :mod:`ratequeue._connections`). The proxies of the environment are not used: they are meant for
    other hosts, and must not see the API key."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=IDLE_FOR)
    proxy = None if settings.proxy is None else httpx.Proxy(settings.proxy)
    return make(verify=settings.tls, limits=limits, trust_env=False, proxy=proxy)


def request(send: Send, settings: Settings) -> httpx.Request:
    connect = min(CONNECT_TIMEOUT, send.timeout)
    return httpx.Request(
        send.call.method,
        send.url + send.call.path,
        content=send.call.body,
        headers={**settings.headers, **send.call.headers},
        extensions={"timeout": httpx.Timeout(send.timeout, connect=connect, pool=None).as_dict()},
    )


def answer(send: Send, response: httpx.Response, content: bytes, sent: float) -> Answer:
    return Answer(send.url, response.status_code, response.headers, content, sent)


def no_answer(send: Send, error: httpx.HTTPError) -> NoAnswer:
    if isinstance(error, (httpx.LocalProtocolError, httpx.UnsupportedProtocol)):
        raise ConfigurationError(f"{send.url} cannot be asked: {error}. Check base_url and api_key.") from error
    unsent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))
    late = isinstance(error, httpx.TimeoutException)
    return NoAnswer(send.url, str(error) or type(error).__name__, unsent, late)
