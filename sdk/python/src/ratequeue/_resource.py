"""The form of a resource, for type checkers. Nothing is checked here at run time: the server knows what it allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Optional, TypedDict


class _Limit(TypedDict):
    kind: Literal["rate", "concurrency"]
    quota: int
    """Units in a window, or held at once."""


class LimitSettings(_Limit, total=False):
    """One limit of a resource. What is left out is the server's to choose."""

    window_ms: int
    """For a rate, which needs it: the length of its window, in milliseconds."""
    algorithm: Literal["sliding_window", "token_bucket"]
    burst: int
    """For a token bucket: units that it holds when it is full."""
    cost: str
    """What an acquire costs: ``"one"``, ``"load"``, or the name of a dimension of its load."""
    true_up: Literal["both", "debit_only", "none"]
    """For a rate: what a report of what was used corrects."""


class QueueSettings(TypedDict, total=False):
    """The ``queue`` of a resource. What is left out is the server's to choose; older servers refuse what they do not know."""

    max_waiting: int
    """How many callers may wait; 10,000 unless it was set."""
    max_wait_ms: int
    """For how long anybody may wait, in milliseconds; 60,000 unless it was set."""
    claim_ms: int
    """For how long a slot is kept for a caller that was silent when its turn came, 0 to 60,000 milliseconds; 5,000 unless it was
    set. Not claimed in time its lease lapses; with 0, silent callers are passed over."""


class LeaseSettings(TypedDict, total=False):
    """How long the leases of a resource live: from 1 millisecond to 31 days."""

    default_ttl_ms: int
    """For leases that ask for none; 60,000 unless it was set."""
    max_ttl_ms: int
    """At most; 900,000 unless it was set."""


class _Resource(TypedDict):
    limits: Mapping[str, LimitSettings]


class ResourceSettings(_Resource, total=False):
    """A resource, as it is put. What is left out is the server's to choose."""

    placement: str
    """Where it is decided: a region, or ``"global"``."""
    queue: QueueSettings
    lease: LeaseSettings


class LimitChanges(TypedDict, total=False):
    """Changes of one limit; None goes back to the server's choice."""

    kind: Literal["rate", "concurrency"]
    quota: int
    window_ms: Optional[int]
    algorithm: Optional[Literal["sliding_window", "token_bucket"]]
    burst: Optional[int]
    cost: Optional[str]
    true_up: Optional[Literal["both", "debit_only", "none"]]


class ResourceChanges(TypedDict, total=False):
    """Changes of a resource, as a JSON merge patch: what is left out stays, a limit that is None is removed."""

    limits: Mapping[str, Optional[LimitChanges]]
    queue: Optional[QueueSettings]
    lease: Optional[LeaseSettings]
