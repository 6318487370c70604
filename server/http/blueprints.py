"""Makes all blueprints of a server process and gives each of them what it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from quart import Blueprint

from server.auth.factory import Auth
from server.auth.session_watch import SessionWatch
from server.common.clock import Clock
from server.common.disk_room import DiskRoom
from server.common.metrics import Metrics
from server.common.shared_check import SharedCheck
from server.config.config import ServerConfig
from server.control.factory import Control
from server.routes import (
    audit,
    auth,
    devices,
    export,
    health,
    pages,
    sensor,
    setpoint,
    stream,
    telemetry,
    users,
    zone_metrics,
)
from server.routes.device_posts import DevicePosts
from server.services.firestore.routing import AUDIT, collections_on_firestore
from server.services.firestore.service_factory import Stores
from server.services.firestore.store_watch import StoreWatch
from server.services.ports.documents import DocumentClient
from server.services.site.site_clock import SiteClock
from server.services.sse_service.service import SSEService


def blueprints(
    config: ServerConfig,
    clock: Clock,
    metrics: Metrics,
    client: DocumentClient,
    stores: Stores,
    access: Auth,
    sse: SSEService,
    control: Control,
    posts: DevicePosts,
    watch: SessionWatch,
    raise_if_damaged: Callable[[], None],
) -> list[Blueprint]:
    """Every route of the server; `clock` is the one that all processes of the site share."""
    guard = access.guard
    shared = partial(SharedCheck, clock=clock, slow_s=health.CHECK_S)
    proved = shared(lambda: _proved(stores.prove, client.ping))
    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "store": lambda: _stores(stores.watch, proved),
        "log": shared(sse.ping),
        "database": lambda: _undamaged(raise_if_damaged),
        "disk": shared(DiskRoom(config.data_dir, config.disk_min_free_mb).check),
    }
    if isinstance(clock, SiteClock):
        checks["clock"] = clock.check
    if collections_on_firestore(config) == AUDIT:
        checks["audit"] = shared(stores.audit.ping)
    return [
        pages.blueprint(),
        sensor.blueprint(control.zones, posts, guard),
        setpoint.blueprint(control.setpoints, guard),
        telemetry.blueprint(stores.telemetry, guard, clock),
        export.blueprint(stores.telemetry, guard, config.timezone),
        stream.blueprint(sse, control.zones, guard),
        devices.blueprint(stores.devices, stores.telemetry, stores.audit, guard, clock),
        audit.blueprint(stores.audit, guard),
        auth.blueprint(config, access.logins, guard, watch, clock),
        users.blueprint(config, access, watch),
        zone_metrics.blueprint(control.zones, guard, config.metrics_token),
        health.blueprint(config, checks, sse, guard, metrics, clock),
    ]


async def _undamaged(raise_if_damaged: Callable[[], None]) -> None:
    raise_if_damaged()


async def _stores(watch: StoreWatch, proved: Callable[[], Awaitable[None]]) -> None:
    """Return if the store accepts readings; else raise StoreUnavailable."""
    watch.raise_if_away()
    await proved()


async def _proved(*checks: Callable[[], Awaitable[None]]) -> None:
    for check in checks:
        await check()
