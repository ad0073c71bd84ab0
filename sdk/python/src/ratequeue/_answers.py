"""Reads answers of nodes: leases, pages of lists, and errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ._wire import Answer, foreign, is_number
from .errors import (
    AuthError,
    ConfigurationError,
    Conflict,
    LeaseLost,
    LoadTooLarge,
    NotFound,
    QueueFull,
    RateQueueError,
    Rejected,
    Unavailable,
    WaitTimeout,
)

# Codes of passing failures that had no effect.
OVERLOADED = "too-many-requests"
NOTHING_HAPPENED = ("no-quorum", "feature-not-enabled", "storage-full", OVERLOADED)
# Codes after which an acquire has no lease: it has ended, or there never was one.
ENDS = (
    "lease-ended",
    "lease-expired",
    "lease-not-held",
    "lease-not-found",
    "limit-exceeded",
    "load-exceeds-capacity",
    "queue-full",
    "resource-deleted",
    "resource-not-found",
    "wait-timeout",
)


@dataclass(frozen=True)
class LeaseView:
    """A lease as a node shows it; times in seconds."""

    id: str
    resource: str
    state: str
    """``"waiting"``, ``"held"``, or how it ended: see :attr:`LeaseLost.state`."""
    fencing_token: int
    charged: Mapping[str, int]
    expires_in: float
    waited: float
    position: int
    retry_after: float


def lease(answer: Answer) -> LeaseView:
    """Reads a lease that waits or is held.

    Raises :class:`LeaseLost` when it has ended in any way, and :class:`RateQueueError` when the answer is no lease.
    """
    body = answer.json()
    try:
        state = body["state"]
        if not isinstance(state, str):
            raise TypeError
        if state not in ("waiting", "held"):
            raise ended(f"{body['resource']}: the lease has ended.", "lease-ended", state, answer.status, None)
        return LeaseView(
            id=body["id"],
            resource=body["resource"],
            state=state,
            fencing_token=body.get("fencing_token", 0),
            charged=body.get("charged", {}),
            expires_in=body.get("expires_in_ms", 0) / 1000,
            waited=body.get("waited_ms", 0) / 1000,
            position=body.get("position", 0),
            retry_after=body.get("retry_after_ms", 0) / 1000,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise foreign(answer) from error


def release_state(answer: Answer) -> Optional[str]:
    """Reads the state in which a release found or left its lease; None when the answer does not contain it."""
    try:
        body = json.loads(answer.content)
    except ValueError:
        return None
    return _text(body.get("state")) if isinstance(body, dict) else None


def _text(value: Any) -> Optional[str]:
    return value if isinstance(value, str) else None


def view(answer: Answer) -> dict[str, Any]:
    """Reads an object. Raises :class:`RateQueueError` when the answer is none."""
    body = answer.json()
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise foreign(answer)
    return body


def page(answer: Answer) -> tuple[list[dict[str, Any]], Optional[str]]:
    """Reads a page of a list, and the cursor of the next one. Raises :class:`RateQueueError` when the answer is no page."""
    body = view(answer)
    items, cursor = body.get("items"), body.get("next_cursor")
    if not isinstance(items, list) or not (cursor is None or isinstance(cursor, str)):
        raise foreign(answer)
    return items, cursor


_ONE_CALL = "Leave idempotency_key out, or use each key for one acquire only."
_ADVICE = {
    "unauthenticated": "Give api_key, or set RATEQUEUE_API_KEY.",
    "forbidden": "Use an API key that allows this.",
    "load-exceeds-capacity": "Split the work into smaller loads, or raise the limit.",
    "lease-ended": "Acquire again, with a new idempotency_key if you gave one.",
    "lease-expired": "Stop the work, and acquire again. If it happens often, give a longer ttl.",
}
# Replaces the server's own text, which is about its HTTP API. All other texts of the server end with what to do.
_SAID_HERE = {
    "resource-not-found": "There is no such resource. Create it with client.resources.put.",
    "limit-exceeded": "Not now, and the call does not wait. Give a timeout to wait in the queue, or try again after retry_after.",
    "queue-full": "Not now, and the queue is full. Try again after retry_after, or raise queue.max_waiting of the resource.",
    "wait-timeout": "It was not granted in time. Give a longer timeout, or raise queue.max_wait_ms of the resource.",
}
# What to do about a lease that has ended, by its state.
_ADVICE_ENDED = {
    "cancelled": "Acquire again. If nobody released it, this process was silent for 15 s or more.",
    "lapsed": "Acquire again. It was granted while this process was silent, for longer than the resource's queue.claim_ms.",
    "released": _ONE_CALL,
}
_BLOCKED = {
    "limit-exceeded": Rejected,
    "queue-full": QueueFull,
    "wait-timeout": WaitTimeout,
}
_KINDS: dict[str, type[RateQueueError]] = {
    "unauthenticated": AuthError,
    "forbidden": AuthError,
    "load-exceeds-capacity": LoadTooLarge,
    "lease-ended": LeaseLost,
    "lease-expired": LeaseLost,
    "lease-not-held": LeaseLost,
    "lease-not-found": LeaseLost,
    "resource-not-found": NotFound,
    "resource-deleted": NotFound,
    "version-conflict": Conflict,
    "placement-conflict": Conflict,
    "idempotency-conflict": Conflict,
}


def error(answer: Answer) -> RateQueueError:
    """Builds the error of a failed call from its answer."""
    problem = _problem(answer)
    if problem is None:
        if _is_gateway(answer.status):
            return Unavailable(f"{answer.url} answered {answer.status} in place of a node", status=answer.status)
        return foreign(answer)

    code: str = problem["code"]
    state = "expired" if code == "lease-expired" else _text(problem.get("state"))
    about = f"{problem['resource']}: " if problem.get("resource") else ""
    violated = tuple(problem.get("violated") or ())
    text = _SAID_HERE.get(code) or problem.get("detail") or problem.get("title") or code
    if violated:
        text = f"{text} In the way: {', '.join(violated)}."

    status, request = answer.status, problem.get("request_id")
    if _KINDS.get(code) is LeaseLost:
        return ended(f"{about}{text}", code, state, status, request)

    message = " ".join(filter(None, [f"{about}{text}", _ADVICE.get(code), f"({code})"]))
    if code in _BLOCKED:
        after = problem.get("retry_after_ms")
        return _BLOCKED[code](
            message,
            retry_after=None if after is None else after / 1000,
            violated=violated,
            code=code,
            status=status,
            request_id=request,
        )

    if status >= 500 or code == OVERLOADED:
        return Unavailable(message, no_effect=code in NOTHING_HAPPENED, code=code, status=status, request_id=request)
    if status == 429:
        # A code of a later version. With this status it is a refusal for now.
        return Rejected(message, code=code, status=status, request_id=request)

    kind = _KINDS.get(code, ConfigurationError)
    return kind(message, code=code, status=status, request_id=request)


def ended(text: str, code: str, state: Optional[str], status: int, request_id: Optional[str]) -> LeaseLost:
    """Builds the error of a lease that has ended."""
    advice, known = _ADVICE.get(code), code
    if code == "lease-ended" and state is not None:
        advice, known = _ADVICE_ENDED.get(state, advice), f"{code}, {state}"
    message = " ".join(filter(None, [text, advice, f"({known})"]))
    return LeaseLost(message, state=state, code=code, status=status, request_id=request_id)


def repeatable(failure: RateQueueError) -> bool:
    """Tells whether the same call with the same key may be sent to the next node."""
    return isinstance(failure, Unavailable)


def from_gateway(failure: RateQueueError) -> bool:
    """Tells whether a gateway answered in place of a node."""
    return failure.code is None and failure.status is not None and _is_gateway(failure.status)


def _is_gateway(status: int) -> bool:
    # 408: the gateway did not get the whole call in time.
    return status >= 500 or status == 408


def _problem(answer: Answer) -> Optional[dict[str, Any]]:
    try:
        problem = json.loads(answer.content)
    except ValueError:
        return None
    if not isinstance(problem, dict) or not isinstance(problem.get("code"), str):
        return None
    after, violated = problem.get("retry_after_ms"), problem.get("violated")
    if after is not None and not is_number(after):
        return None
    if violated is not None and not (isinstance(violated, list) and all(isinstance(name, str) for name in violated)):
        return None
    return problem
