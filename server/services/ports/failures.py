"""Makes the errors of a store that cannot answer, and counts each by its kind."""

from __future__ import annotations

from server.common.metrics import Metrics
from server.services.ports.documents import StoreBusy, StoreUnavailable


def unavailable(metrics: Metrics, kind: str, message: str) -> StoreUnavailable:
    """Count a failure and return its error: StoreBusy for a full queue, else StoreUnavailable."""
    metrics.store_failures.labels(kind=kind).inc()
    error = StoreBusy if kind == "queue_full" else StoreUnavailable
    return error(message=message)
