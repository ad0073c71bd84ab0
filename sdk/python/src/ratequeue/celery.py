"""A mixin for Celery tasks that hold a lease while they run.

    class Limited(RateQueueTask, celery.Task):
        ratequeue_resource = "openai-eu"
        ratequeue_load = 2000

    @app.task(base=Limited)
    def summarise(text): ...

A worker does not wait in the queue for long: when the lease is not granted within ``ratequeue_timeout`` seconds, the task goes
back to the broker and is tried again after the time that the server names. That counts as none of the task's own retries. Its
place in the queue is given up meanwhile, for a place is kept only for a caller that waits: where tasks must go in order, let them
wait, with a longer ``ratequeue_timeout``. In the task, ``ratequeue.current_lease()`` gives the lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, NoReturn, Optional, Union

from celery.exceptions import Reject, Retry

from . import _limited
from ._sync.client import Client
from ._sync.decorator import holding
from ._sync.functions import acquire
from ._wire import Load
from .errors import QueueFull, RateQueueError, Rejected, Unavailable, WaitTimeout

WAITS = "ratequeue-waits"
"""The header that counts how often a task went back to the broker."""


class RateQueueTask:
    """A mixin to put before ``celery.Task`` in the bases of a task class."""

    ratequeue_resource: str = ""
    """The resource to acquire."""
    ratequeue_load: Union[Load, Callable[..., Load]] = 1
    """Load of a run, or a function of the task's arguments (a ``staticmethod``) that returns it."""
    ratequeue_timeout: Optional[float] = 5.0
    """Seconds for which a worker waits in the queue."""
    ratequeue_retry: float = 5.0
    """Seconds until another try when the server does not name any."""
    ratequeue_retries_max: Optional[int] = None
    """Returns to the broker before the task fails with the error of its acquire; None is without end."""
    ratequeue_options: Mapping[str, Any] = {}
    """Other arguments of :func:`ratequeue.acquire`."""
    ratequeue_client: Optional[Client] = None
    """The client; the shared one by default."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        task: Any = self
        call: Any = super().__call__  # type: ignore[misc]
        options = _limited.checked("ratequeue_options", self.ratequeue_options, shared=self.ratequeue_client is None)
        acquire_of = acquire if self.ratequeue_client is None else self.ratequeue_client.acquire

        def acquiring(load: Load) -> Any:
            return acquire_of(self.ratequeue_resource, load, timeout=self.ratequeue_timeout, **options)

        # A function that is an attribute of the class would become a method; it is meant as it stands.
        load: _limited.LoadOf = type(self).ratequeue_load
        ran: list[bool] = []

        def run(*args: Any, **kwargs: Any) -> Any:
            ran.append(True)
            return call(*args, **kwargs)

        try:
            return holding(acquiring, load)(run)(*args, **kwargs)
        except (Rejected, WaitTimeout, QueueFull, Unavailable) as error:
            # What the work itself raised is the task's own business.
            if ran or task.request.called_directly:
                raise
            self._wait(error)

    def _wait(self, error: RateQueueError) -> NoReturn:
        """Sends the task to the broker again, as ``Task.retry`` does, but leaves its retries alone."""
        task: Any = self
        request = task.request
        headers = dict(request.headers or {})
        waits = headers[WAITS] = int(headers.get(WAITS, 0)) + 1
        if self.ratequeue_retries_max is not None and waits > self.ratequeue_retries_max:
            raise error
        after = getattr(error, "retry_after", None) or self.ratequeue_retry
        again = task.signature_from_request(request, countdown=after, retries=request.retries, headers=headers)
        # A task that is applied in place is applied again by what caught the Retry.
        if not request.is_eager:
            try:
                again.apply_async()
            except Exception as failure:
                raise Reject(failure, requeue=False) from failure
        raise Retry(exc=error, when=after, is_eager=request.is_eager, sig=again) from error
