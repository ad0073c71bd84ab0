"""Settings of a client, from arguments and the environment."""

from __future__ import annotations

import functools
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Literal, Optional, Union

import httpx

from ._local import Local
from ._version import __version__
from ._wire import check_patience
from .errors import ConfigurationError

URL_DEFAULT = "http://127.0.0.1:7600"
URLS_MAX = 64
PATIENCE = 20.0
"""Seconds for which a call goes on when no node decides it. Well inside the 60 s for which the server remembers a key."""

TRY_PATIENCE = 1.0
"""Patience of calls that do not wait."""

_API_KEY = re.compile(r"[!-~]+\Z")

Urls = Union[str, Sequence[str], None]
OnUnavailable = Union[Literal["deny", "allow"], Local]
OnWait = Callable[[int, float], Any]


@dataclass(frozen=True)
class Settings:
    """Checked settings of a client."""

    urls: tuple[str, ...]
    api_key: Optional[str] = field(repr=False)
    patience: float
    on_unavailable: OnUnavailable
    verify: Any
    tracer: Any
    proxy: Optional[str] = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "user-agent": f"ratequeue-python/{__version__}"}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        return headers

    @functools.cached_property
    def tls(self) -> Any:
        # Loading certificates takes a while, so that it is done once for all connections, and not for nothing.
        if not any(url.startswith("https:") for url in self.urls):
            return httpx.create_ssl_context(verify=False, trust_env=False)
        # SSL_CERT_FILE of the environment counts, unlike its proxies.
        return self.verify if isinstance(self.verify, ssl.SSLContext) else httpx.create_ssl_context(verify=self.verify)


def settings(
    base_url: Urls,
    api_key: Optional[str],
    patience: float,
    on_unavailable: OnUnavailable,
    verify: Any,
    tracer: Any,
    proxy: Optional[str] = None,
) -> Settings:
    """Checks the arguments of a client. Raises :class:`ConfigurationError`."""
    check_patience(patience)
    if api_key is None:
        api_key = os.environ.get("RATEQUEUE_API_KEY") or None
    if isinstance(api_key, str):
        api_key = api_key.strip()
    if api_key is not None and (not isinstance(api_key, str) or not _API_KEY.match(api_key)):
        raise ConfigurationError("api_key: give visible ASCII characters, without blanks")
    if proxy is not None:
        try:
            httpx.Proxy(proxy)
        except (ValueError, TypeError, AttributeError, httpx.InvalidURL):
            raise ConfigurationError("proxy: give a URL like http://proxy.example:3128") from None
    return Settings(urls(base_url), api_key, patience, fallback(on_unavailable), verify, tracer, proxy)


def urls(base_url: Urls) -> tuple[str, ...]:
    """Returns the nodes' URLs: those given, else those of RATEQUEUE_URL, else a node on this machine."""
    if base_url is None:
        base_url = os.environ.get("RATEQUEUE_URL") or URL_DEFAULT
    try:
        parts = [part.strip() for part in (base_url.split(",") if isinstance(base_url, str) else base_url)]
    except (TypeError, AttributeError):
        raise ConfigurationError(f"base_url: give 1 to {URLS_MAX} URLs, as a list or separated by commas") from None
    found = tuple(dict.fromkeys(_url(part) for part in parts if part))
    if not 1 <= len(found) <= URLS_MAX:
        raise ConfigurationError(f"base_url: give 1 to {URLS_MAX} URLs")
    return found


def _url(text: str) -> str:
    # A password is never shown, so what may hold one is refused first.
    if "@" in text:
        raise ConfigurationError("base_url: a URL with a user or a password in it is refused: give api_key instead")

    try:
        url = httpx.URL(text if "://" in text else f"http://{text}")
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or not 0 < (url.port or 80) < 2**16:
        raise ConfigurationError(
            f"{text!r} is no URL of a node: give one like http://127.0.0.1:7600, or 127.0.0.1:7600; several separated by commas"
        )

    # Each call has a path of its own, which begins with /v1: that one may be there already. Anything else would be lost.
    address = f"{url.scheme}://{url.netloc.decode()}"
    for what, given in (
        ("query", "?" in text),
        ("fragment", "#" in text),
        ("path", url.path.strip("/") not in ("", "v1")),
    ):
        if given:
            raise ConfigurationError(
                f"base_url: a URL with a {what} is refused: give it as {address}, the client adds what follows"
            )

    # In lower case, as nodes write their addresses: names of hosts do not depend on it.
    return address.lower()


def fallback(choice: OnUnavailable) -> OnUnavailable:
    if isinstance(choice, Local) or (isinstance(choice, str) and choice in ("deny", "allow")):
        return choice
    raise ConfigurationError(f"on_unavailable is {choice!r}: give 'deny', 'allow' or ratequeue.local(fraction)")
