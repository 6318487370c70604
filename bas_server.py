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
from server.auth.device_keys import DeviceKeys
from server.auth.guard import Guard
from server.auth.login import LoginService
from server.auth.passwords import Passwords
from server.auth.rate_limit import AttemptLimiter
from server.auth.session_watch import SessionWatch
from server.auth.sessions import SessionService
from server.clock import Clock, SystemClock
from server.config.config import ServerConfig
from server.control.setpoints import SetpointService
from server.control.work import Work
from server.control.zone_cache import ZoneCache
from server.control.zones import ZoneService
from server.metrics import Metrics
from server.routes import audit, auth, devices, health, pages, sensor, setpoint, stream, telemetry
from server.services.embedded.retention import RetentionTask
from server.services.embedded.sqlite_client import SqliteClient, load_indexes
from server.services.firestore.service_factory import Stores, create_stores
from server.services.sse_service.factory import sse_service
from server.services.sse_service.memory_backend import MemoryLog
from server.services.sse_service.service import SSEService

HERE = Path(__file__).resolve().parent
INDEXES = HERE / "infra" / "firestore.indexes.json"
ATTEMPTS_WINDOW_S = 15 * 60
FINISH_WORK_S = 2.0


@dataclass(frozen=True)
class Base:
    """What the server and the commands share: the stores, and who may use them."""

    config: ServerConfig
    clock: Clock
    metrics: Metrics
    client: SqliteClient
    stores: Stores
    passwords: Passwords
    accounts: AttemptLimiter
    sessions: SessionService
    keys: DeviceKeys
    admin: Admin


@dataclass(frozen=True)
class Container:
    """One running server process, wired by hand."""

    base: Base
    sse: SSEService
    zones: ZoneService
    setpoints: SetpointService
    logins: LoginService
    watch: SessionWatch
    guard: Guard
    app: Quart


@asynccontextmanager
async def open_base(config: ServerConfig, clock: Clock | None = None) -> AsyncIterator[Base]:
    """The stores, open meanwhile."""
    clock, metrics = clock or SystemClock(), Metrics()
    async with AsyncExitStack() as resources:
        client = SqliteClient(config.data_dir / "bas.db", load_indexes(INDEXES), clock, metrics)
        await client.open()
        resources.push_async_callback(client.close)
        stores = create_stores(client, clock, config.audit_days)
        passwords = Passwords()
        resources.callback(passwords.close)
        accounts = AttemptLimiter(
            client,
            clock,
            "user",
            limit=config.max_login_attempts,
            window_s=config.lockout_duration,
            lock_s=config.lockout_duration,
        )
        sessions = SessionService(
            stores.sessions,
            stores.users,
            accounts,
            clock,
            timeout_s=config.session_timeout,
            max_per_user=config.max_concurrent_sessions,
        )
        keys = DeviceKeys(stores.devices, config.device_auth)
        admin = Admin(stores.users, sessions, passwords, keys, stores.audit)
        yield Base(
            config, clock, metrics, client, stores, passwords, accounts, sessions, keys, admin
        )


@asynccontextmanager
async def open_container(
    config: ServerConfig, clock: Clock | None = None
) -> AsyncIterator[Container]:
    """Everything a server process needs, running meanwhile; it closes in reverse order."""
    async with AsyncExitStack() as resources:
        base = await resources.enter_async_context(open_base(config, clock))
        stores, clock, metrics = base.stores, base.clock, base.metrics
        retention = RetentionTask(base.client, clock, metrics)
        retention.start()
        resources.push_async_callback(retention.stop)
        event_log = MemoryLog(config.sse_history_events, config.sse_history_bytes)
        sse = await resources.enter_async_context(
            sse_service(
                event_log,
                clock,
                metrics,
                queue_max=config.sse_queue_max,
                heartbeat_s=config.sse_heartbeat_s,
                max_streams=config.sse_max_streams,
            )
        )
        work = Work()
        resources.push_async_callback(work.close, FINISH_WORK_S)
        cache = ZoneCache(stores.zones, stores.devices)
        zones = ZoneService(
            client=base.client,
            zones=stores.zones,
            telemetry=stores.telemetry,
            devices=stores.devices,
            cache=cache,
            work=work,
            sse=sse,
            clock=clock,
            metrics=metrics,
            telemetry_days=config.telemetry_days,
        )
        setpoints = SetpointService(
            client=base.client,
            zones=stores.zones,
            audit=stores.audit,
            cache=cache,
            zone_service=zones,
            work=work,
            sse=sse,
            clock=clock,
        )
        addresses = AttemptLimiter(
            base.client,
            clock,
            "address",
            limit=config.auth_attempts_per_15min,
            window_s=ATTEMPTS_WINDOW_S,
            lock_s=ATTEMPTS_WINDOW_S,
        )
        logins = LoginService(
            users=stores.users,
            sessions=base.sessions,
            passwords=base.passwords,
            accounts=base.accounts,
            addresses=addresses,
            audit=stores.audit,
            clock=clock,
            metrics=metrics,
        )
        watch = SessionWatch(sse.hub.owners, base.sessions.lost, sse.hub.end_owned)
        watch.start()
        resources.push_async_callback(watch.stop)
        guard = Guard(config, base.sessions, stores.audit, metrics)
        checks = {"store": base.client.ping, "log": sse.ping}
        app = create_app(
            config,
            [
                pages.blueprint(),
                sensor.blueprint(zones, base.keys, guard),
                setpoint.blueprint(setpoints, guard),
                telemetry.blueprint(stores.telemetry, guard, clock),
                stream.blueprint(sse, zones, guard),
                devices.blueprint(stores.devices, stores.audit, guard),
                audit.blueprint(stores.audit, guard),
                auth.blueprint(config, logins, base.sessions, watch, clock),
                health.blueprint(config, checks, lambda: sse.hub.draining, metrics, clock),
            ],
            guard,
        )
        yield Container(base, sse, zones, setpoints, logins, watch, guard, app)


if __name__ == "__main__":
    from server.cli import main

    sys.exit(main(sys.argv[1:], open_base, open_container))
