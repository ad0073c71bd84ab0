"""The clock by which leases are trusted."""

from __future__ import annotations

import time

# Time that this machine spent suspended counts for the server, so it must count here. Linux has a clock for that; the
# monotonic clock of other systems mostly includes it.
_BOOT = getattr(time, "CLOCK_BOOTTIME", None)


def now() -> float:
    """Seconds since some start. Never goes back, and goes on while the machine sleeps."""
    return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)
