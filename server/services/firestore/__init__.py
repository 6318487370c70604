"""The stores of readings, zones, accounts and audit entries, and the Firestore client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.common.clock import Clock
    from server.common.metrics import Metrics
    from server.services.firestore.google.client import FirestoreClient
    from server.services.ports.indexes import Index

LOCAL_PROJECT = "local-dev"


def init_client(
    host: str,
    indexes: Iterable[Index],
    clock: Clock,
    metrics: Metrics,
    project: str = LOCAL_PROJECT,
    copying: bool = False,
) -> FirestoreClient:
    """A client of the Firestore emulator at host:port; this call loads Google's library.

    Use it only from the running event loop. It first contacts the emulator at its first call.
    """
    from server.services.firestore.google.client import FirestoreClient
    from server.services.firestore.google.connection import emulator_client

    google = emulator_client(host, project)
    return FirestoreClient(google, indexes, clock, metrics, copying=copying)
