"""One of each store, wired by hand over one document client."""

from __future__ import annotations

from dataclasses import dataclass

from server.clock import Clock
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.base import DocumentClient
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.sessions_store import SessionsStore
from server.services.firestore.telemetry_store import TelemetryStore
from server.services.firestore.users_store import UsersStore
from server.services.firestore.zones_store import ZonesStore


@dataclass(frozen=True)
class Stores:
    """The stores of one process: singletons that share its client."""

    client: DocumentClient
    telemetry: TelemetryStore
    zones: ZonesStore
    devices: DevicesStore
    users: UsersStore
    sessions: SessionsStore
    audit: AuditStore


def create_stores(client: DocumentClient, clock: Clock, audit_days: int) -> Stores:
    """Every store on `client`."""
    return Stores(
        client=client,
        telemetry=TelemetryStore(client),
        zones=ZonesStore(client),
        devices=DevicesStore(client, clock),
        users=UsersStore(client, clock),
        sessions=SessionsStore(client, clock),
        audit=AuditStore(client, clock, audit_days),
    )
