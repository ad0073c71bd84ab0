"""Errors of the package. Each is a :class:`RateQueueError`, and its message says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional


class RateQueueError(Exception):
    """The base of all errors of this package.

    ``code`` is the server's error code (``"limit-exceeded"``), or None when no server sent one. ``status`` is the HTTP
    status that came with it, ``request_id`` the idempotency key of the call.
    """

    def __init__(
        self,
        message: str,
        *,
        code: Optional[str] = None,
        status: Optional[int] = None,
        request_id: Optional[str] = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.request_id = request_id
        # True when an earlier try of the same call may have had an effect.
        self._unclear = False


class _Blocked(RateQueueError):
    def __init__(
        self,
        message: str,
        *,
        retry_after: Optional[float] = None,
        violated: Sequence[str] = (),
        code: Optional[str] = None,
        status: Optional[int] = None,
        request_id: Optional[str] = None,
    ) -> None:
        super().__init__(message, code=code, status=status, request_id=request_id)
        self.retry_after = retry_after
        """Estimate of the seconds after which another try may succeed, or None."""
        self.violated = tuple(violated)
        """The limits that are in the way; ``queue`` when only the queue is."""


class Rejected(_Blocked):
    """Refusal of an acquire that does not wait: the limits do not allow it now."""


class WaitTimeout(_Blocked, TimeoutError):
    """End of a wait whose time ran out before the lease was granted. The place in the queue is gone. A ``TimeoutError`` too."""


class QueueFull(_Blocked):
    """Refusal of an acquire while the queue is full and the limits do not allow it now."""


class LoadTooLarge(RateQueueError):
    """Refusal of a load that is more than a limit of the resource can ever admit. Waiting does not help."""


class LeaseLost(RateQueueError):
    """Loss of a lease: it may no longer be relied on, as the server may have given its capacity to another caller."""

    def __init__(
        self,
        message: str,
        *,
        state: Optional[str] = None,
        code: Optional[str] = None,
        status: Optional[int] = None,
        request_id: Optional[str] = None,
    ) -> None:
        super().__init__(message, code=code, status=status, request_id=request_id)
        self.state = state
        """State in which it ended, if the server sent it: ``"released"``, ``"expired"``, ``"cancelled"``, ``"timed_out"``,
        ``"rejected"``, ``"lapsed"`` (granted while its caller was silent, and not claimed in time), or what later servers add."""


class Unavailable(RateQueueError):
    """Failure of all nodes to decide the call in time.

    ``no_effect`` is True when it is certain that nothing happened. When it is False, a lease may have been granted
    that nobody uses. It is given back in the background if a node answers within ``patience``; else it ends by itself when its
    time to live is over.
    """

    def __init__(
        self,
        message: str,
        *,
        no_effect: bool = False,
        code: Optional[str] = None,
        status: Optional[int] = None,
        request_id: Optional[str] = None,
    ) -> None:
        super().__init__(message, code=code, status=status, request_id=request_id)
        self.no_effect = no_effect


class AuthError(RateQueueError):
    """Refusal of the API key: it is missing, unknown, or does not allow this."""


class NotFound(RateQueueError):
    """Absence of the resource: it does not exist, or not any more."""


class Conflict(RateQueueError):
    """Conflict of the call with the present state. Nothing happened.

    ``code`` says what: ``"version-conflict"`` (somebody else changed the resource, or it exists), ``"placement-conflict"`` (it
    lives elsewhere), ``"idempotency-conflict"`` (the key was used for another call).
    """


class ConfigurationError(RateQueueError):
    """Mistake in the call itself: an argument, a name, the form of a resource or a URL is wrong."""
