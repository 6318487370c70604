"""All blueprints of a server process, each handed what it needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from quart import Blueprint

from server.auth.session_watch import SessionWatch
from server.container import Base
from server.control.factory import Control
from server.routes import audit, auth, devices, health, pages, sensor, setpoint, stream, telemetry
from server.routes.device_posts import DevicePosts
from server.services.firestore.routing import AUDIT, collections_on_firestore
from server.services.firestore.store_watch import StoreWatch
from server.services.sse_service.service import SSEService


def device_posts(base: Base, control: Control) -> DevicePosts:
    """What answers devices, for the routes here and for ordinary posts before them."""
    keys, audit = base.auth.keys, base.stores.audit
    deciding = control.batches, control.relays
    return DevicePosts(*deciding, keys, audit, base.metrics, base.clock, control.watch.refused)


def blueprints(
    base: Base, sse: SSEService, control: Control, posts: DevicePosts, watch: SessionWatch
) -> list[Blueprint]:
    """Every route of the server."""
    config, clock, stores = base.config, base.clock, base.stores
    access, guard = base.auth, base.auth.guard
    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "store": lambda: _stores(stores.watch, base.client.ping),
        "log": sse.ping,
    }
    if collections_on_firestore(config) == AUDIT:
        checks["audit"] = stores.audit.ping
    return [
        pages.blueprint(),
        sensor.blueprint(control.zones, posts, guard),
        setpoint.blueprint(control.setpoints, guard),
        telemetry.blueprint(stores.telemetry, guard, clock),
        stream.blueprint(sse, control.zones, guard),
        devices.blueprint(stores.devices, stores.audit, guard),
        audit.blueprint(stores.audit, guard),
        auth.blueprint(config, access.logins, access.sessions, guard, watch, clock),
        health.blueprint(config, checks, sse, guard, base.metrics, clock),
    ]


async def _stores(watch: StoreWatch, ping: Callable[[], Awaitable[None]]) -> None:
    """Return when readings are stored; else StoreUnavailable."""
    watch.check_there()
    await ping()
