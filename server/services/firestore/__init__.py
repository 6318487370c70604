"""The stores, the port they are built on, and its implementation on Google Firestore."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.clock import Clock
    from server.metrics import Metrics
    from server.services.firestore.client import FirestoreClient
    from server.services.firestore.indexes import Index

LOCAL_PROJECT = "local-dev"


def init_client(
    host: str,
    indexes: Iterable[Index],
    clock: Clock,
    metrics: Metrics,
    project: str = LOCAL_PROJECT,
) -> FirestoreClient:
    """A client of the Firestore emulator at host:port; Google's library is loaded by this call.

    It belongs to the running event loop. Nothing is asked of the emulator yet: `ping` does.
    """
    from server.services.firestore.client import FirestoreClient
    from server.services.firestore.firestore_connection import emulator_client

    return FirestoreClient(emulator_client(host, project), indexes, clock, metrics)
