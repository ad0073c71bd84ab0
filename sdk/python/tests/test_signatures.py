"""Arguments and docstrings of the functions and of both clients, which agree."""

from __future__ import annotations

import inspect
from typing import Any, Callable

import pytest

import ratequeue
import ratequeue.aio as rq
from ratequeue import _limited

SHARED = ("api_key", "base_url")
"""Arguments of the functions alone: a client has its own."""
PAIRS = [
    (ratequeue.acquire, rq.acquire),
    (ratequeue.try_acquire, rq.try_acquire),
    (ratequeue.limited, rq.limited),
    (ratequeue.Client, rq.AsyncClient),
    (ratequeue.Client.close, rq.AsyncClient.aclose),
    *(
        (getattr(ratequeue.Client, name), getattr(rq.AsyncClient, name))
        for name in ("acquire", "try_acquire", "limited")
    ),
    *((getattr(ratequeue.Client, name), getattr(rq.AsyncClient, name)) for name in ("stats", "leases")),
    *((getattr(ratequeue.Lease, name), getattr(rq.Lease, name)) for name in ("release", "extend", "report", "check")),
    *((getattr(ratequeue.Resources, name), getattr(rq.Resources, name)) for name in ("put", "get", "patch", "delete")),
    (ratequeue.Resources.list, rq.Resources.list),
    (ratequeue.Acquire.open, rq.Acquire.open),
]


def arguments(function: Callable[..., Any]) -> dict[str, tuple[Any, Any, Any]]:
    parameters = inspect.signature(function).parameters
    return {name: (each.kind, each.annotation, each.default) for name, each in parameters.items() if name != "self"}


@pytest.mark.parametrize(("blocking", "asynchronous"), PAIRS, ids=lambda call: call.__qualname__)
def test_both_sides_agree(blocking: Any, asynchronous: Any) -> None:
    assert arguments(blocking) == arguments(asynchronous)
    assert inspect.getdoc(blocking)
    assert inspect.getdoc(blocking) == inspect.getdoc(asynchronous)


@pytest.mark.parametrize("name", ["acquire", "try_acquire"])
def test_a_client_takes_what_the_functions_take(name: str) -> None:
    function, method = arguments(getattr(ratequeue, name)), arguments(getattr(ratequeue.Client, name))
    for shared in SHARED:
        del function[shared]
    # Left out, it is that of the client.
    kind, annotation, default = function.pop("on_unavailable")
    assert method.pop("on_unavailable") == (kind, f"Optional[{annotation}]", None)
    assert default == "deny"
    assert function == method


def test_the_decorators_take_what_acquire_takes() -> None:
    for function, options in (
        (ratequeue.acquire, _limited.SharedOptions),
        (ratequeue.Client.acquire, _limited.Options),
    ):
        names = arguments(function).keys() - {"resource", "load", "idempotency_key"}
        assert options.__annotations__.keys() == names


def test_what_is_awaited() -> None:
    for call in (rq.Lease.release, rq.Lease.extend, rq.Acquire.open, rq.AsyncClient.stats, rq.Resources.put):
        assert inspect.iscoroutinefunction(call)
    for blocking in (ratequeue.Lease.release, ratequeue.Acquire.open, ratequeue.Client.stats, ratequeue.Resources.put):
        assert not inspect.iscoroutinefunction(blocking)
