"""The clock by which leases are trusted."""

from __future__ import annotations

import sys
import time
from typing import Any, Callable


def including_sleep(source: Any, platform: str) -> Callable[[], float]:
    """Returns a clock that goes on while the machine sleeps: that time counts for the server, so it must count here.

    Linux has one for that. On macOS it is ``CLOCK_MONOTONIC``, and ``time.monotonic`` is another one, which stops in sleep.
    Elsewhere ``time.monotonic`` is the best there is.
    """
    if hasattr(source, "CLOCK_BOOTTIME"):
        return lambda: float(source.clock_gettime(source.CLOCK_BOOTTIME))
    if platform == "darwin" and hasattr(source, "CLOCK_MONOTONIC"):
        return lambda: float(source.clock_gettime(source.CLOCK_MONOTONIC))
    monotonic: Callable[[], float] = source.monotonic
    return monotonic


now = including_sleep(time, sys.platform)
"""Returns seconds since an arbitrary start. Never goes back."""
