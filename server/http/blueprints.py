"""Makes all blueprints of a server process and gives each of them what it needs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from quart import Blueprint

from server.alarms.factory import Alarms
from server.auth.factory import Auth
from server.auth.session_watch import SessionWatch
from server.common.addresses import is_shared_address
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.control.factory import Control
from server.http.checks import checks_of
from server.routes import (
    alarms,
    audit,
    auth,
    device_keys,
    devices,
    export,
    health,
    notice_targets,
    pages,
    sensor,
    setpoint,
    stream,
    system,
    telemetry,
    tokens,
    users,
    zone_files,
    zone_metrics,
    zones,
)
from server.routes.device_posts import DevicePosts
from server.services.firestore.service_factory import Stores
from server.services.ports.documents import DocumentClient
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
    of_alarms: Alarms,
) -> list[Blueprint]:
    """Every route of the server; `clock` is the one that all processes of the site share."""
    guard = access.guard
    is_shared = partial(is_shared_address, networks=config.trusted_proxies)
    checks = checks_of(config, clock, client, stores, sse, raise_if_damaged)
    return [
        pages.blueprint(guard),
        sensor.blueprint(control.zones, posts, guard),
        setpoint.blueprint(control.setpoints, guard),
        zone_files.blueprint(control.zone_files, guard),
        zones.blueprint(config, control.settings, control.removal, stores.zone_directory, guard),
        telemetry.blueprint(stores.telemetry, guard, clock),
        export.blueprint(stores.telemetry, guard, config.timezone),
        stream.blueprint(sse, control.zones, of_alarms.actions, guard, is_shared),
        alarms.blueprint(of_alarms.actions, guard),
        notice_targets.blueprint(config, of_alarms.notices.targets, guard),
        devices.blueprint(
            stores.devices,
            access.key_service,
            control.zones,
            stores.telemetry,
            stores.audit,
            guard,
            clock,
        ),
        device_keys.blueprint(config, access.key_service, guard),
        audit.blueprint(stores.audit, guard),
        auth.blueprint(config, access.logins, guard, watch, clock),
        tokens.blueprint(config, access.tokens, guard, watch, clock),
        users.blueprint(config, access, watch),
        system.blueprint(config, guard, clock),
        zone_metrics.blueprint(control.zones, guard, config.metrics_token),
        health.blueprint(config, checks, sse, guard, metrics, clock),
    ]
