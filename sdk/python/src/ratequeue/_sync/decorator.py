# Generated from _async/decorator.py by generate_sync.py. Do not edit.
"""The decorator that holds a lease around each call of a function."""

from __future__ import annotations

import functools
from typing import Any, Callable, TypeVar

from .. import _limited
from .._limited import LoadOf, SyncFunction
from .._wire import Load
from .lease import Acquire, Lease

F = TypeVar("F", bound=SyncFunction)


def holding(acquire: Callable[[Load], Acquire[Lease]], load: LoadOf) -> Callable[[F], F]:
    """Returns a decorator that acquires a lease for each call of a function."""

    def decorate(function: F) -> F:
        _limited.check_sync_function(function)

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with acquire(_limited.load_of(load, args, kwargs)):
                return function(*args, **kwargs)

        return wrapper  # type: ignore[return-value]

    return decorate
