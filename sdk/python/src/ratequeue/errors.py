"""What can go wrong. Every error is a :class:`RateQueueError`, and its message says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional


class RateQueueError(Exception):
    """The base of all errors of this package.

    ``code`` is the server's error code (``"limit-exceeded"``), or None when no server said it. ``status`` is the HTTP
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
        """Seconds after which another try may succeed: an estimate, or None."""
        self.violated = tuple(violated)
        """The limits that are in the way; ``queue`` when only the queue is."""


class Rejected(_Blocked):
    """The limits do not allow it now, and the call was not to wait."""


class WaitTimeout(_Blocked, TimeoutError):
    """It was not its turn before the time to wait ran out. Its place in line is gone. A ``TimeoutError`` too."""


class QueueFull(_Blocked):
    """The limits do not allow it now, and as many callers wait as may."""


class LoadTooLarge(RateQueueError):
    """The load is more than a limit of the resource can ever admit. No waiting helps."""


class LeaseLost(RateQueueError):
    """The lease may no longer be relied on: the server may have given its capacity to somebody else."""

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
        """How it ended, when the server said it: ``"released"``, ``"expired"``, ``"cancelled"``, ``"timed_out"``, ``"rejected"``,
        ``"lapsed"`` (it was granted while its caller was silent, and not claimed in time), or what later servers add."""


class Unavailable(RateQueueError):
    """No node decided the call in time.

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
    """The API key is missing, unknown, or does not allow this."""


class NotFound(RateQueueError):
    """There is no such resource, or not any more."""


class Conflict(RateQueueError):
    """Something is otherwise than the call takes for granted, and was so before it; nothing happened.

    ``code`` says what: ``"version-conflict"`` (somebody else changed the resource, or it exists), ``"placement-conflict"`` (it
    lives elsewhere), ``"idempotency-conflict"`` (the key was used for another call).
    """


class ConfigurationError(RateQueueError):
    """The call cannot work as it is written: an argument, a name, the form of a resource or a URL is wrong."""
