"""One of each store, wired by hand over one document client."""

from __future__ import annotations

from dataclasses import dataclass

from server.clock import Clock
from server.metrics import Metrics
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.base import DocumentClient, Put, Reads
from server.services.firestore.caching import CachingClient
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.routing import PROBES
from server.services.firestore.sessions_store import SessionsStore
from server.services.firestore.store_watch import StoreWatch
from server.services.firestore.telemetry_store import TelemetryStore
from server.services.firestore.users_store import UsersStore
from server.services.firestore.zones_store import ZonesStore


@dataclass(frozen=True)
class Stores:
    """The stores of one process: singletons that share its client, and `reads`, which may be a
    moment old."""

    client: DocumentClient
    reads: Reads
    telemetry: TelemetryStore
    zones: ZonesStore
    devices: DevicesStore
    users: UsersStore
    sessions: SessionsStore
    audit: AuditStore
    watch: StoreWatch


def create_stores(
    client: DocumentClient, clock: Clock, audit_days: int, metrics: Metrics
) -> Stores:
    """Every store on `client`; what a CachingClient remembers need not be read again."""
    reads: Reads = client
    recent = None
    if isinstance(client, CachingClient):
        reads, recent = client.copies, client.recent

    async def probe() -> None:
        await client.write([Put(PROBES, "store", {"at": clock.now_ms()})])

    return Stores(
        client=client,
        reads=reads,
        telemetry=TelemetryStore(client, recent),
        zones=ZonesStore(client),
        devices=DevicesStore(client, clock, reads),
        users=UsersStore(client, clock, reads),
        sessions=SessionsStore(client, clock, reads),
        audit=AuditStore(client, clock, audit_days, metrics),
        watch=StoreWatch(probe, clock, metrics),
    )
