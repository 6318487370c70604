"""Creates one of each store over one document client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from server.common.background_task import BackgroundTask
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.firestore.audit_linker import AuditLinker
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.cache.client import CachingClient
from server.services.firestore.device_keys_store import DeviceKeysStore
from server.services.firestore.devices_store import DevicesStore
from server.services.firestore.sessions_store import SessionsStore
from server.services.firestore.store_probe import StoreProbe
from server.services.firestore.store_watch import StoreWatch
from server.services.firestore.telemetry_store import TelemetryStore
from server.services.firestore.tenants_store import TenantsStore
from server.services.firestore.tokens_store import TokensStore
from server.services.firestore.users_store import UsersStore
from server.services.firestore.zone_directory import ZoneDirectory
from server.services.firestore.zone_settings_store import ZoneSettingsStore
from server.services.firestore.zones_store import ZonesStore
from server.services.ports.documents import DocumentClient, Reads
from server.services.ports.readings import ReadingHistory


@dataclass(frozen=True)
class Stores:
    """The stores of one process, which share its client; `reads` may return cached documents.

    A server process runs the tasks in `upkeep`. `prove` stores a test document, reads it back and
    raises StoreUnavailable if that fails.
    """

    client: DocumentClient
    reads: Reads
    telemetry: TelemetryStore
    zones: ZonesStore
    zone_settings: ZoneSettingsStore
    zone_directory: ZoneDirectory
    devices: DevicesStore
    device_keys: DeviceKeysStore
    users: UsersStore
    tenants: TenantsStore
    sessions: SessionsStore
    tokens: TokensStore
    audit: AuditStore
    watch: StoreWatch
    upkeep: Sequence[BackgroundTask]
    prove: Callable[[], Awaitable[None]]


def create_stores(
    client: DocumentClient,
    history: ReadingHistory,
    clock: Clock,
    audit_days: int,
    metrics: Metrics,
) -> Stores:
    """Create every store on `client`, and that of readings on `history`.

    `clock` is the one that all processes on these stores share.
    With a CachingClient, some reads use its cache.
    """
    reads: Reads = client
    recent = None
    if isinstance(client, CachingClient):
        reads, recent = client.copies, client.recent

    probe = StoreProbe(client, clock)
    audit = AuditStore(client, clock, audit_days, metrics)
    users = UsersStore(client, clock, reads)
    settings = ZoneSettingsStore(client, reads)
    return Stores(
        client=client,
        reads=reads,
        telemetry=TelemetryStore(history, recent),
        zones=ZonesStore(client),
        zone_settings=settings,
        zone_directory=ZoneDirectory(client, settings),
        devices=DevicesStore(client, clock, reads),
        device_keys=DeviceKeysStore(client, clock, reads),
        users=users,
        tenants=TenantsStore(client, history, users, clock),
        sessions=SessionsStore(client, clock, reads),
        tokens=TokensStore(client, reads),
        audit=audit,
        watch=StoreWatch(probe.write, clock, metrics),
        upkeep=(AuditLinker(client, clock, metrics, audit.made), audit.refusals),
        prove=probe.prove,
    )
