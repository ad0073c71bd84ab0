"""What the decorators share: how the load follows from a call's arguments, and which lease is held around a function."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Callable, Optional, Union

from ._lease import BaseLease
from ._wire import Load
from .errors import ConfigurationError

LoadOf = Union[Load, Callable[..., Load]]
"""A load, or a function of the decorated function's arguments that gives one."""

_current: ContextVar[Optional[BaseLease[Any]]] = ContextVar("ratequeue_lease", default=None)


def repeated(options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of acquires that are made over and over. Raises :class:`ConfigurationError`."""
    if options.get("idempotency_key") is not None:
        raise ConfigurationError("idempotency_key: each call is an acquire of its own, so leave the key out here")
    return dict(options)


def load_of(load: LoadOf, args: Any, kwargs: Any) -> Load:
    return load(*args, **kwargs) if callable(load) else load


def current_lease() -> BaseLease[Any]:
    """The lease that is held around the function that runs, for its ``report``.

    Raises :class:`~ratequeue.ConfigurationError` outside of a function with ``@limited``.
    """
    lease = _current.get()
    if lease is None:
        raise ConfigurationError("there is no current lease: call this in a function with @limited")
    return lease
