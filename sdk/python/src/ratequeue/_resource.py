"""Types of a resource, for type checkers. Nothing is checked here at run time: the server knows what it allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Optional, TypedDict


class _Limit(TypedDict):
    kind: Literal["rate", "concurrency"]
    quota: int
    """Units in a window, or held at once."""


class LimitSettings(_Limit, total=False):
    """One limit of a resource. The server chooses what is left out."""

    window_ms: int
    """Length of the window of a rate, in milliseconds; required there."""
    algorithm: Literal["sliding_window", "token_bucket"]
    burst: int
    """Units that a full token bucket holds."""
    cost: str
    """Cost of an acquire: ``"one"``, ``"load"``, or the name of a dimension of its load."""
    true_up: Literal["both", "debit_only", "none"]
    """Direction in which the reported usage corrects a rate."""


class QueueSettings(TypedDict, total=False):
    """The ``queue`` of a resource. The server chooses what is left out; older servers refuse what they do not know."""

    max_waiting: int
    """Callers that may wait at most; 10,000 unless it was set."""
    max_wait_ms: int
    """Longest wait, in milliseconds; 60,000 unless it was set."""
    claim_ms: int
    """Time for which a granted lease is kept for a caller that was silent at that moment: 0 to 60,000 milliseconds; 5,000 unless it
    was set. A lease that is not claimed in time lapses; with 0, silent callers are passed over."""


class LeaseSettings(TypedDict, total=False):
    """Times to live of the leases of a resource: from 1 millisecond to 31 days."""

    default_ttl_ms: int
    """Time to live of a lease that does not name one; 60,000 unless it was set."""
    max_ttl_ms: int
    """Longest time to live; 900,000 unless it was set."""


class _Resource(TypedDict):
    limits: Mapping[str, LimitSettings]


class ResourceSettings(_Resource, total=False):
    """A resource, as it is put. The server chooses what is left out."""

    placement: str
    """Region that decides about it, or ``"global"``."""
    queue: QueueSettings
    lease: LeaseSettings


class LimitChanges(TypedDict, total=False):
    """Changes of one limit; None restores the server's choice."""

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
