"""What a client is set up with: nodes, key, patience; from arguments and the environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

from ._local import Local
from .errors import ConfigurationError

URL_DEFAULT = "http://127.0.0.1:7600"
URLS_MAX = 64
PATIENCE = 20.0
"""Seconds for which a call goes on when no node decides it. Well inside the 60 s for which the server remembers a key."""

Urls = Union[str, Sequence[str], None]
OnUnavailable = Union[str, Local]
OnWait = Callable[[int, float], Any]


@dataclass(frozen=True)
class Settings:
    """A client's settings, checked."""

    urls: tuple[str, ...]
    api_key: Optional[str]
    patience: float
    on_unavailable: OnUnavailable
    verify: Any
    tracer: Any

    @property
    def headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json", "user-agent": "ratequeue-python"}
        if self.api_key:
            headers["authorization"] = f"Bearer {self.api_key}"
        return headers

    @property
    def tls(self) -> Any:
        # Loading certificates takes a while, so that it is not done for nothing.
        return self.verify if any(url.startswith("https:") for url in self.urls) else False


def settings(
    base_url: Urls,
    api_key: Optional[str],
    patience: float,
    on_unavailable: OnUnavailable,
    verify: Any,
    tracer: Any,
) -> Settings:
    """Checks the arguments of a client. Raises :class:`ConfigurationError`."""
    if not patience > 0:
        raise ConfigurationError(f"patience is {patience!r}: give seconds, more than 0")
    if api_key is None:
        api_key = os.environ.get("RATEQUEUE_API_KEY") or None
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise ConfigurationError("api_key: give printable ASCII characters")
    return Settings(urls(base_url), api_key, patience, fallback(on_unavailable), verify, tracer)


def urls(base_url: Urls) -> tuple[str, ...]:
    """The nodes' URLs: those given, else those of RATEQUEUE_URL, else a node on this machine."""
    if base_url is None:
        base_url = os.environ.get("RATEQUEUE_URL") or URL_DEFAULT
    parts = base_url.split(",") if isinstance(base_url, str) else list(base_url)
    found = tuple(dict.fromkeys(part.strip().rstrip("/") for part in parts))
    for url in found:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"{url!r} is no URL: give one like http://127.0.0.1:7600, several separated by commas"
            )
    if not 1 <= len(found) <= URLS_MAX:
        raise ConfigurationError(f"base_url: give 1 to {URLS_MAX} URLs")
    return found


def fallback(choice: OnUnavailable) -> OnUnavailable:
    if choice in ("deny", "allow") or isinstance(choice, Local):
        return choice
    raise ConfigurationError(f"on_unavailable is {choice!r}: give 'deny', 'allow' or ratequeue.local(fraction)")
