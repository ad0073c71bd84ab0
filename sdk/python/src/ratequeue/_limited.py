"""The part of the decorators that threads and asyncio share: their options, the load of a call, and the current lease."""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Coroutine, Mapping
from contextvars import ContextVar
from typing import Any, Callable, Optional, TypedDict, Union

from . import _wire
from ._lease import BaseLease
from ._settings import OnUnavailable, OnWait, Urls, fallback
from ._wire import Load
from .errors import ConfigurationError

SyncFunction = Callable[..., Any]
AsyncFunction = Callable[..., Coroutine[Any, Any, Any]]

LoadOf = Union[Load, Callable[..., Load]]
"""A load, or a function of the decorated function's arguments that returns one."""


class Options(TypedDict, total=False):
    """Arguments of repeated acquires by one client: those of :func:`ratequeue.acquire`, but for the key."""

    timeout: Optional[float]
    priority: int
    ttl: Optional[float]
    on_unavailable: OnUnavailable
    metadata: Optional[Mapping[str, str]]
    on_wait: Optional[OnWait]
    patience: Optional[float]


class SharedOptions(Options, total=False):
    """Arguments of repeated acquires by the shared client."""

    api_key: Optional[str]
    base_url: Urls


def checked(who: str, options: Mapping[str, Any], shared: bool = True) -> dict[str, Any]:
    """Checks the arguments before the first call. Raises TypeError and :class:`ConfigurationError`, as a call would."""
    if options.get("idempotency_key") is not None:
        raise ConfigurationError("idempotency_key: each call is an acquire of its own, so leave the key out here")
    for name in options:
        if name not in (SharedOptions if shared else Options).__annotations__ and name != "idempotency_key":
            raise TypeError(f"{who} got an unexpected keyword argument {name!r}")
    given = [options.get(name) for name in ("ttl", "metadata", "patience")]
    ttl, metadata, patience = given
    _wire.acquire_request("r", 1, options.get("timeout"), options.get("priority", 5), ttl, None, metadata, patience)
    if options.get("on_unavailable") is not None:
        fallback(options["on_unavailable"])
    return dict(options)


def load_of(load: LoadOf, args: Any, kwargs: Any) -> Load:
    return load(*args, **kwargs) if callable(load) else load


def name_of(function: Any) -> str:
    """Returns the name of a function for messages; not every callable has one."""
    return getattr(function, "__qualname__", None) or repr(function)


def check_sync_function(function: Any) -> None:
    """Raises :class:`ConfigurationError` for a function that the blocking decorator cannot wrap."""
    _refuse_generators(function)
    if _is_coroutine(function):
        raise ConfigurationError(f"{name_of(function)} is async: use limited from ratequeue.aio")


def check_async_function(function: Any) -> None:
    """Raises :class:`ConfigurationError` for a function that the decorator of asyncio cannot wrap."""
    _refuse_generators(function)
    if not _is_coroutine(function):
        raise ConfigurationError(f"{name_of(function)} is no coroutine function: use limited from ratequeue")


def _is_coroutine(function: Any) -> bool:
    """Tells whether a function is a coroutine function, or an object that is called like one."""
    return any(map(inspect.iscoroutinefunction, _what_runs(function)))


def _refuse_generators(function: Any) -> None:
    """Refuses generators, whose body runs after the call has ended, and the lease with it."""
    for kind, is_kind in (("a", inspect.isgeneratorfunction), ("an asynchronous", inspect.isasyncgenfunction)):
        if any(map(is_kind, _what_runs(function))):
            raise ConfigurationError(f"{name_of(function)} is {kind} generator function: use acquire in it instead")


def _what_runs(function: Any) -> tuple[Any, Any]:
    """Returns what a call runs: a function without its ``functools.partial``, or the ``__call__`` of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    return function, type(function).__dict__.get("__call__")


_Current = Optional["weakref.ref[BaseLease[Any]]"]
# A weak reference: a context must not keep a lease that nobody has any more.
_current: ContextVar[_Current] = ContextVar("ratequeue_lease", default=None)


def enter(lease: BaseLease[Any]) -> _Current:
    """Makes a lease the current one; returns the one before."""
    before = _current.get()
    _current.set(weakref.ref(lease))
    return before


def leave(lease: BaseLease[Any], before: _Current) -> None:
    """Restores the lease before this one, if this one is current: a block may be left in another context."""
    now = _current.get()
    if now is not None and now() is lease:
        _current.set(before)


def current_lease() -> BaseLease[Any]:
    """Returns the lease of the innermost block of ``acquire`` or function with ``@limited`` that runs, for its ``report``.

    Tasks and ``asyncio.to_thread`` have the one of the place where they were started, threads of a pool have none. Raises
    :class:`~ratequeue.ConfigurationError` where there is none.
    """
    lease = None if (current := _current.get()) is None else current()
    if lease is None:
        raise ConfigurationError(
            "there is no current lease: call this in a block of acquire, or in a function with @limited; to a thread of a pool "
            "pass the lease on, or submit contextvars.copy_context().run"
        )
    return lease
