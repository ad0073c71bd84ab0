"""Shared clients, which the functions of the package use; and the handling of forks for all clients."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from typing import Any, Callable, Generic, Optional, Protocol, TypeVar

from ._settings import Urls, urls

DEFAULTS_MAX = 64
"""Shared clients that are kept at most; beyond it the least recently used one is forgotten."""


class Forks(Protocol):
    def _after_fork(self) -> None: ...


C = TypeVar("C")
_forking: weakref.WeakSet[Any] = weakref.WeakSet()


def after_fork(thing: Forks) -> None:
    """Registers an object whose ``_after_fork`` is called in every child process, for as long as the object exists."""
    _forking.add(thing)


class Defaults(Generic[C]):
    """One shared client for each set of arguments and environment."""

    def __init__(self, make: Callable[..., C]) -> None:
        self._make = make
        self._clients: OrderedDict[tuple[Any, ...], C] = OrderedDict()
        self._lock = threading.Lock()
        after_fork(self)

    def __call__(self, base_url: Urls, api_key: Optional[str]) -> C:
        if base_url is not None and not isinstance(base_url, str):
            base_url = ",".join(urls(base_url))
        base_url = base_url or os.environ.get("RATEQUEUE_URL") or None
        api_key = api_key or os.environ.get("RATEQUEUE_API_KEY") or None
        with self._lock:
            client = self._clients.get((base_url, api_key))
            if client is None:
                client = self._clients[base_url, api_key] = self._make(base_url, api_key=api_key)
                if len(self._clients) > DEFAULTS_MAX:
                    self._clients.popitem(last=False)
            else:
                self._clients.move_to_end((base_url, api_key))
            return client

    def clear(self) -> list[C]:
        """Forgets all clients, and returns them."""
        with self._lock:
            clients = list(self._clients.values())
            self._clients.clear()
            return clients

    def _after_fork(self) -> None:
        self._lock = threading.Lock()


def _in_child() -> None:
    for thing in list(_forking):
        thing._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
