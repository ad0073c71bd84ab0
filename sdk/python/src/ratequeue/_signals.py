"""Turns signals that end the process into an exception that leaves its blocks."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Optional

from .errors import ConfigurationError

NAMES = ("SIGTERM", "SIGHUP")
AGAIN_AFTER = 5.0
"""Seconds after which another signal raises again."""


def exit_on_signals() -> None:
    """Makes SIGTERM and SIGHUP end the process as Ctrl-C does, so that held leases and places in queues are given back.

    Without that they end it at once: the server then drops a place in the queue 15 to 20 s later (granted meanwhile, it lapses
    after the resource's ``queue.claim_ms``), and a lease that is held lasts for its ``ttl``. Call it in the main thread, at
    the start of a program of your own; servers that handle these signals themselves (gunicorn, uvicorn, Celery) need nothing, and
    signals that have a handler, or are ignored, are left as they are.

    The first signal raises ``SystemExit(128 + number)`` in the main thread. Those that follow within 5 s are ignored, so that
    they do not interrupt what the first one does. Raises :class:`ConfigurationError` in another thread.
    """
    for name in NAMES:
        number = getattr(signal, name, None)
        if number is None or signal.getsignal(number) is not signal.SIG_DFL:
            continue
        try:
            signal.signal(number, _exit)
        except ValueError:
            raise ConfigurationError("exit_on_signals: call it in the main thread, where signals are handled") from None


_raised: list[float] = []


def _exit(number: int, frame: Optional[FrameType]) -> None:
    if _raised and time.monotonic() < _raised[-1] + AGAIN_AFTER:
        return
    # Python swallows what is raised while an object is finalized, so a later signal raises again.
    _raised[:] = [time.monotonic()]
    raise SystemExit(128 + number)
