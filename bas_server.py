#!/usr/bin/env python3
"""Composition root: settings -> Container -> app -> serve; it alone names implementations."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from quart import Quart

from server.admin import Admin
from server.app import create_app
from server.auth.factory import Auth, create_auth
from server.auth.firestore_client import connected_firestore, stores_client
from server.auth.session_watch import SessionWatch
from server.cli import main
from server.clock import Clock, SystemClock
from server.config.config import ServerConfig
from server.control.factory import Control, control
from server.metrics import Metrics
from server.neighbours import Neighbours
from server.routes import audit, auth, devices, health, pages, sensor, setpoint, stream, telemetry
from server.services.embedded.legacy_database import LegacyDatabase
from server.services.embedded.retention import RetentionTask
from server.services.embedded.sqlite_client import SqliteClient
from server.services.firestore.base import DocumentClient, Retention
from server.services.firestore.indexes import load_indexes
from server.services.firestore.routing import AUDIT, collections_on_firestore
from server.services.firestore.service_factory import Stores, create_stores
from server.services.sse_service.factory import shared_log, sse_service
from server.services.sse_service.memory_backend import MemoryLog
from server.services.sse_service.service import SSEService

INDEXES = Path(__file__).resolve().parent / "infra" / "firestore.indexes.json"
FINISH_LOGINS_S = 0.5


@dataclass(frozen=True)
class Base:
    """What the server and the commands share: the stores, and who may use them."""

    config: ServerConfig
    clock: Clock
    metrics: Metrics
    client: DocumentClient
    expiring: Retention
    stores: Stores
    auth: Auth
    admin: Admin


@dataclass(frozen=True)
class Container:
    """One running server process, wired by hand."""

    base: Base
    sse: SSEService
    control: Control
    app: Quart


@asynccontextmanager
async def open_base(
    config: ServerConfig,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    neighbours: Neighbours | None = None,
) -> AsyncIterator[Base]:
    """The stores, open meanwhile; what is in Firestore is remembered only with `neighbours`."""
    indexes, clock, metrics = load_indexes(INDEXES), clock or SystemClock(), metrics or Metrics()
    async with AsyncExitStack() as resources:
        sqlite = SqliteClient(config.database, indexes, clock, metrics)
        await resources.enter_async_context(sqlite)
        opening = stores_client(config, sqlite, indexes, clock, metrics, neighbours)
        client = await resources.enter_async_context(opening)
        stores = create_stores(client, clock, config.audit_days, metrics)
        access = create_auth(config, stores, clock, metrics)
        resources.callback(access.passwords.close)
        resources.push_async_callback(access.logins.work.close, FINISH_LOGINS_S)
        admin = Admin(stores.users, access.sessions, access.passwords, access.keys, stores.audit)
        yield Base(config, clock, metrics, client, sqlite, stores, access, admin)


@asynccontextmanager
async def open_both(config: ServerConfig) -> AsyncIterator[dict[str, DocumentClient]]:
    """SQLite and Firestore, whatever is kept in which, open meanwhile."""
    parts = load_indexes(INDEXES), SystemClock(), Metrics()
    sqlite = SqliteClient(config.database, *parts)
    async with sqlite, connected_firestore(config, *parts) as firestore:
        yield {"sqlite": sqlite, "firestore": firestore}


@asynccontextmanager
async def open_container(
    config: ServerConfig, clock: Clock | None = None
) -> AsyncIterator[Container]:
    """Everything a server process needs, running meanwhile; it closes in reverse order."""
    async with AsyncExitStack() as resources:
        clock, metrics = clock or SystemClock(), Metrics()
        bounds = {"max_events": config.sse_history_events, "max_bytes": config.sse_history_bytes}
        shared = await resources.enter_async_context(
            shared_log(config.shared_redis_url, clock, metrics, **bounds)
        )
        event_log = shared or MemoryLog(**bounds)
        neighbours = event_log.neighbours
        base = await resources.enter_async_context(open_base(config, clock, metrics, neighbours))
        stores, guard = base.stores, base.auth.guard
        retention = RetentionTask(base.expiring, clock, metrics)
        retention.start()
        resources.push_async_callback(retention.stop)
        sse = await resources.enter_async_context(
            sse_service(
                event_log,
                clock,
                metrics,
                queue_max=config.sse_queue_max,
                heartbeat_s=config.sse_heartbeat_s,
                max_streams=config.sse_max_streams,
                census=shared.leases if shared else None,
            )
        )
        deciding = await resources.enter_async_context(
            control(stores, sse, neighbours.notices, clock, metrics, config.telemetry_days)
        )
        sessions = base.auth.sessions
        watch = SessionWatch(sse.hub.owners, sessions.lost, sse.hub.end_owned)
        watch.start()
        resources.push_async_callback(watch.stop)
        checks = {"store": base.client.ping, "log": sse.ping}
        if collections_on_firestore(config) == AUDIT:
            checks["audit"] = stores.audit.ping
        blueprints = [
            pages.blueprint(),
            sensor.blueprint(deciding.zones, deciding.batches, base.auth.keys, guard),
            setpoint.blueprint(deciding.setpoints, guard),
            telemetry.blueprint(stores.telemetry, guard, clock),
            stream.blueprint(sse, deciding.zones, guard),
            devices.blueprint(stores.devices, stores.audit, guard),
            audit.blueprint(stores.audit, guard),
            auth.blueprint(config, base.auth.logins, sessions, guard, watch, clock),
            health.blueprint(config, checks, sse, guard, metrics, clock),
        ]
        yield Container(base, sse, deciding, create_app(config, blueprints, guard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], open_base, open_container, open_both, LegacyDatabase))
