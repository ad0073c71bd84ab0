# Generated from _async/lease.py by generate_sync.py. Do not edit.
"""Requested and held leases."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Optional, TypeVar

from .. import otel
from .._acquire import BaseAcquire, owing
from .._flows import Grant
from .._lease import BaseLease
from .._threads import Blocking, SyncRunners
from .._wire import AcquireRequest
from ..errors import QueueFull, Rejected

L = TypeVar("L")


class Lease(BaseLease[threading.Event]):
    """A held lease, until the end of its block or :meth:`release`.

    Everything that relies on it (:attr:`fencing_token`, :meth:`check`, :meth:`report`, :meth:`report_from`) raises
    :class:`~ratequeue.LeaseLost` once it may no longer be relied on, and after its release.
    """

    def __init__(self, runner: Blocking, request: AcquireRequest, grant: Grant) -> None:
        super().__init__(runner, request, grant, threading.Event())
        self._runner = runner

    def release(self) -> None:
        """Gives the lease back with the reported usage, as the end of its block does. Does nothing the second time.

        Never raises because of the server: the work is done. When no node answers it takes 3 s at most, and goes on in the
        background.
        """
        make = self._ending()
        if make is None:
            return

        try:
            kept = self._runner.run(make())
        except BaseException:
            # Interrupted halfway, by Ctrl-C or a cancellation. Releasing twice does no harm, not releasing would.
            self._runner.finish(make)
            self._ended(None)
            raise

        self._ended(kept)

    def extend(self, ttl: Optional[float] = None) -> None:
        """Sets the deadline to the time to live of the lease from now on; ``ttl`` (in seconds) replaces that time for good.

        Leases are extended in the background anyway: this is for work that is about to stop the whole process for a while. Raises
        :class:`LeaseLost`; :class:`Unavailable` when no node answers while it can be relied on; :class:`ConfigurationError`.
        """
        self._runner.run(self._extending(ttl))


class Acquire(BaseAcquire[SyncRunners, L]):
    """A requested lease. Entering its block waits in the queue, leaving it releases; :meth:`open` acquires without a block."""

    def open(self) -> L:
        """Acquires without a block: the lease is held until :meth:`Lease.release`, and extended in the background meanwhile.

        A lease that is dropped is released too (with a ``ResourceWarning``), and so is one that is still held when the process
        ends, or the event loop of asyncio that it belongs to. Raises what entering a block raises.
        """
        runners, request = self._begin()
        runner = runners.current()
        core = runner.core
        attempt, give_up = owing(runner, request)
        lease: Optional[Lease] = None

        try:
            with otel.acquiring(core.settings.tracer, request) as granted:
                grant = runner.run(core.open(request, attempt, self._on_unavailable), self._on_wait)
                granted(grant.view.id, grant.view.waited, grant.degraded)
            lease = Lease(runner, request, grant)
            lease._heart.start()
        except BaseException as error:
            # Interrupted by Ctrl-C, a cancellation, the caller's hook or a heartbeat that cannot start: the place in the queue
            # is given up, or the lease. When the server has decided, there is nothing to give up.
            if lease is not None:
                lease._ending()
                lease._ended(None)
            if attempt.sent:
                runner.finish(give_up)
            if isinstance(error, (Rejected, QueueFull)):
                return self._refused(error)
            raise
        finally:
            runner.owed.pop(attempt, None)

        return lease  # type: ignore[return-value]

    def __enter__(self) -> L:
        return self._enter(self.open())

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        lease: Optional[Lease] = self._leave()
        if lease is not None:
            lease.release()
