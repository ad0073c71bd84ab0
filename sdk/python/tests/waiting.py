"""Waiting for a condition."""

from __future__ import annotations

import time
from typing import Callable


def eventually(what: str, true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
