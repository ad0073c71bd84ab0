"""Requests, checked before they are sent, and answers, as they come."""

from __future__ import annotations

import json
import math
import numbers
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union
from urllib.parse import quote

from .errors import ConfigurationError, RateQueueError

Load = Union[int, Mapping[str, int]]
"""Weight of an acquire: a whole number, or one for each dimension of the resource."""

HOLD_MS_MAX = 5_000
"""Time for which a call is held open. The server drops a place whose caller is silent for 15 s. So this and twice
:data:`ratequeue._retry.TRY_TIMEOUT` stay below: of three nodes two may hang, or wait for one that does, and the third is asked in
time."""
HOLD_MS_WAY_OUT = 1_000
"""Time for which a call is held open where ``on_unavailable`` is not ``"deny"``, so that it applies soon after a node hangs."""
HOLD_MS_MIN = 1_000
"""Shortest time for which a call is held open, also when the last one was cut sooner."""
LOAD_MAX = 2**53
DIMENSIONS_MAX = 16
METADATA_MAX = 16
DURATION_MS_MAX = 31 * 24 * 3600 * 1000
_NAME = re.compile(r"[A-Za-z0-9._:@/+=~\[\]-]{1,256}\Z")
_DIMENSION = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_RESERVED = ("one", "load", "line", "queue")
_KEY = re.compile(r"[!-~]{1,128}\Z")


@dataclass(frozen=True)
class Call:
    """An HTTP call, as it is sent to each node that is tried."""

    method: str
    path: str
    body: Optional[bytes] = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hold: float = 0.0
    """Seconds for which the server may hold the call open."""
    again: Optional[Call] = None
    """The same call without being held open, for the tries after one that was not answered in time; None if it is not held open."""
    subject: Optional[str] = None
    """Subject of the call, as :func:`about_resource` and :func:`about_lease` name it; None if it has none."""


@dataclass(frozen=True)
class Answer:
    """An answer of a node. ``sent`` is the client's time right before the call was sent."""

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes
    sent: float

    @property
    def leader(self) -> Optional[str]:
        return self.headers.get("ratequeue-leader")

    def json(self) -> Any:
        try:
            return json.loads(self.content) if self.content else None
        except ValueError as error:
            raise foreign(self) from error


@dataclass(frozen=True)
class NoAnswer:
    """The failure of a node to answer.

    ``unsent`` means that the call certainly never reached it; ``late`` that the connection stands, and the time was up.
    """

    url: str
    reason: str
    unsent: bool
    late: bool = False


@dataclass(frozen=True)
class AcquireRequest:
    """A checked acquire. Its key and body stay the same for as long as it is tried."""

    resource: str
    key: str
    load: Load
    fields: Mapping[str, Any]
    """The body without ``hold_ms``."""
    wait: float
    """Seconds to wait in the queue."""
    patience: Optional[float] = None
    """Seconds for which it goes on when no node decides it; None is as long as the client does."""

    def call(self, hold_ms: int) -> Call:
        return Call(
            "POST",
            f"{resource_path(self.resource)}/acquire",
            json.dumps({**self.fields, "hold_ms": hold_ms}).encode(),
            {"idempotency-key": self.key},
            hold_ms / 1000,
            self.call(0) if hold_ms else None,
            about_resource(self.resource),
        )

    @property
    def nothing_used(self) -> Load:
        """Usage of a lease that was never worked under, in the form of its load."""
        return 0 if isinstance(self.load, int) else dict.fromkeys(self.load, 0)


def acquire_request(
    resource: str,
    load: Load,
    timeout: Optional[float],
    priority: int,
    ttl: Optional[float],
    key: Optional[str],
    metadata: Optional[Mapping[str, str]],
    patience: Optional[float] = None,
) -> AcquireRequest:
    """Builds an acquire from its arguments, which it checks.

    Raises :class:`ConfigurationError` with the name of the argument and what is allowed.
    """
    check_name(resource)
    wait_ms = DURATION_MS_MAX if timeout is None else milliseconds("timeout", timeout, 0)
    if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= 9:
        raise ConfigurationError(f"priority is {priority!r}: give a whole number from 0 (first) to 9 (last)")
    fields: dict[str, Any] = {"load": check_load("load", load), "wait_ms": wait_ms, "priority": priority}
    if ttl is not None:
        fields["ttl_ms"] = milliseconds("ttl", ttl, 1)
    if metadata:
        fields["metadata"] = _check_metadata(metadata)
    if key is None:
        key = new_key()
    elif not isinstance(key, str) or not _KEY.match(key):
        raise ConfigurationError("idempotency_key: give 1 to 128 visible ASCII characters")
    patience = None if patience is None else check_patience(patience)
    return AcquireRequest(resource, key, fields["load"], fields, wait_ms / 1000, patience)


def check_patience(patience: float) -> float:
    if not is_number(patience) or not patience > 0:
        raise ConfigurationError(f"patience is {patience!r}: give seconds, more than 0")
    return patience


def _check_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    pairs = dict(metadata) if isinstance(metadata, Mapping) else {}
    strings = all(isinstance(text, str) for pair in pairs.items() for text in pair)
    if not strings or not 1 <= len(pairs) <= METADATA_MAX:
        raise ConfigurationError(f"metadata: give a dict of at most {METADATA_MAX} pairs of strings")
    return pairs


def new_key() -> str:
    """Makes a unique idempotency key."""
    return secrets.token_hex(16)


def check_name(resource: str) -> str:
    if not isinstance(resource, str) or not _NAME.match(resource) or resource in (".", ".."):
        raise ConfigurationError(
            f"{resource!r} is no resource name: 1 to 256 of A-Z a-z 0-9 . _ : @ / + = ~ - [ ] are allowed, not percent-encoded "
            "(paths are encoded here), and not . or .. alone"
        )
    return resource


def resource_path(resource: str) -> str:
    """Returns the path of a resource, its name encoded."""
    return f"/v1/resources/{quote(resource, safe='')}"


def check_load(what: str, load: Load) -> Load:
    """Checks a load, and copies it if it is a map. Raises :class:`ConfigurationError`."""
    if isinstance(load, Mapping):
        checked = {name: _check_amount(f"{what}[{name!r}]", amount) for name, amount in load.items()}
        for name in checked:
            if not isinstance(name, str) or not _DIMENSION.match(name) or name in _RESERVED:
                raise ConfigurationError(
                    f"{what}: {name!r} is no dimension: a-z, 0-9 and _ are allowed, at most 32, a letter first, "
                    "and none of one, load, line, queue"
                )
        if len(checked) > DIMENSIONS_MAX or sum(checked.values()) > LOAD_MAX:
            raise ConfigurationError(f"{what}: give at most {DIMENSIONS_MAX} dimensions, and at most 2**53 in all")
        return checked
    return _check_amount(what, load)


def _check_amount(what: str, amount: int) -> int:
    if not isinstance(amount, int) or isinstance(amount, bool) or not 0 <= amount <= LOAD_MAX:
        raise ConfigurationError(
            f"{what} is {amount!r}: give a whole number from 0 to 2**53, or a dict of such numbers"
        )
    return amount


def is_number(value: Any) -> bool:
    """Tells whether a value is a number. True and False are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def milliseconds(what: str, seconds: float, least_ms: int) -> int:
    """Converts seconds to whole milliseconds, rounded up. Raises :class:`ConfigurationError`."""
    ms = math.ceil(round(seconds * 1000, 6)) if is_number(seconds) and 0 <= seconds < float("inf") else -1
    if not least_ms <= ms <= DURATION_MS_MAX:
        raise ConfigurationError(f"{what} is {seconds!r}: give seconds, from {least_ms / 1000:g} to 31 days")
    return ms


def about_resource(name: str) -> str:
    """Returns the subject of a call about a resource."""
    return f"resource {name}"


def about_lease(lease_id: str) -> str:
    """Returns the subject of a call about a lease: its group, which is what precedes the last dot of its id."""
    return f"group {lease_id.rpartition('.')[0]}"


def release(lease_id: str, used: Optional[Load]) -> Call:
    body = {} if used is None else {"used": used}
    return Call("POST", f"/v1/leases/{lease_id}/release", json.dumps(body).encode(), subject=about_lease(lease_id))


def extend(lease_id: str, ttl_ms: Optional[int]) -> Call:
    body = {} if ttl_ms is None else {"ttl_ms": ttl_ms}
    return Call("POST", f"/v1/leases/{lease_id}/extend", json.dumps(body).encode(), subject=about_lease(lease_id))


def foreign(answer: Answer) -> RateQueueError:
    return RateQueueError(
        f"{answer.url} does not answer like a RateQueue node (status {answer.status}): check base_url or RATEQUEUE_URL",
        status=answer.status,
    )
