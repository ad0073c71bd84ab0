"""Choice of the node that is asked first about a subject."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Optional

from ._recent import Recent

SUSPECT_FOR = 2.0
"""Seconds for which a node that did not answer is not taken for a leader."""
SUBJECTS_MAX = 1024
"""Subjects whose leader is remembered. Forgetting one costs a forwarded call, no more."""


class Nodes:
    """The nodes of a cluster, and which of them is asked first about a subject. Safe for threads.

    A *subject* is a resource, or the group of a lease. Resources may live in different regions, each with a leader of its own, so
    the leader that an answer names is kept for the subject of that answer only. Calls about a subject that is not known yet,
    and those about none, go to the first URL that works: any node answers any call.

    A leader whose URL is not among the client's own is ignored. The API key goes nowhere but where the user sends it, and the
    address may mean nothing from here, as behind a load balancer.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = tuple(urls)
        self._lock = threading.Lock()
        self._works = self.urls[0]
        self._leaders: Recent[str] = Recent(SUBJECTS_MAX)
        self._suspect: dict[str, float] = {}

    def first(self, subject: Optional[str]) -> str:
        """Returns the node to ask first."""
        with self._lock:
            return self._works if subject is None else self._leaders.get(subject, self._works)

    def prefer(self, subject: Optional[str], leader: Optional[str], now: float) -> None:
        """Records the leader of a subject, if it is one of these nodes and did answer lately."""
        url = (leader or "").rstrip("/")
        with self._lock:
            if subject is not None and url in self.urls and now >= self._suspect.get(url, now):
                self._leaders.keep(subject, url)

    def answered(self, url: str) -> None:
        with self._lock:
            self._suspect.pop(url, None)

    def silent(self, url: str, now: float) -> None:
        """Records that a node did not answer: the next one is asked about all that it led, so that only one call waits for it."""
        with self._lock:
            self._suspect[url] = now + SUSPECT_FOR
            for subject, leader in self._leaders.items():
                if leader == url:
                    self._leaders[subject] = self._after(url)
            if self._works == url:
                self._works = self._after(url)

    def move_on(self, subject: Optional[str], url: str) -> None:
        """Makes the next node the first for this subject, unless another one than this is first already."""
        with self._lock:
            if subject is None:
                if self._works == url:
                    self._works = self._after(url)
            elif self._leaders.get(subject, self._works) == url:
                self._leaders.keep(subject, self._after(url))

    def _after(self, url: str) -> str:
        return self.urls[(self.urls.index(url) + 1) % len(self.urls)]
