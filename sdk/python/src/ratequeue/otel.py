"""OpenTelemetry spans, which are optional: ``Client(tracer=ratequeue.otel.tracer())``. Needs ``opentelemetry-api``.

Each acquire is a span ``ratequeue.acquire`` that lasts until the lease is granted or not, with the attributes
``ratequeue.resource``, ``ratequeue.priority``, ``ratequeue.load`` (the scalar load), and, once granted, ``ratequeue.lease_id``,
``ratequeue.waited_s`` and ``ratequeue.degraded``. A refusal is no error of the span: it has ``ratequeue.refused`` with the code.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, Optional

from ._wire import AcquireRequest
from .errors import QueueFull, RateQueueError, Rejected, WaitTimeout

Granted = Callable[[str, float, bool], None]


def tracer() -> Any:
    """Returns this package's tracer, of the global tracer provider."""
    from opentelemetry import trace

    return trace.get_tracer("ratequeue")


@contextmanager
def acquiring(tracer: Any, request: AcquireRequest) -> Iterator[Granted]:
    """Wraps an acquire in a span, if there is a tracer; yields a function to call when it is granted."""
    if tracer is None:
        yield lambda lease_id, waited, degraded: None
        return
    load = request.load if isinstance(request.load, int) else sum(request.load.values())
    attributes = {
        "ratequeue.resource": request.resource,
        "ratequeue.priority": request.fields["priority"],
        "ratequeue.load": load,
    }
    refused: Optional[RateQueueError] = None
    with tracer.start_as_current_span("ratequeue.acquire", attributes=attributes) as span:

        def granted(lease_id: str, waited: float, degraded: bool) -> None:
            span.set_attribute("ratequeue.lease_id", lease_id)
            span.set_attribute("ratequeue.waited_s", waited)
            span.set_attribute("ratequeue.degraded", degraded)

        try:
            yield granted
        except (Rejected, QueueFull, WaitTimeout) as error:
            # A refusal is no error of the span, so it is raised after it.
            span.set_attribute("ratequeue.refused", error.code or "degraded")
            refused = error
    if refused is not None:
        raise refused
