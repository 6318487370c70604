#!/usr/bin/env python3
"""The entry point: wires all parts by hand, and is the only file that names implementations."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from server.alarms.factory import create_alarms
from server.auth.factory import create_auth
from server.auth.firestore_client import connected_firestore, stores_client
from server.auth.session_watch import SessionWatch
from server.commands.admin import Admin
from server.commands.main import main
from server.common.clock import Clock, SystemClock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.container import Base, Container, CopyEnd, Site
from server.control.factory import control, rules_of
from server.http.app import common_headers, create_app
from server.http.blueprints import blueprints
from server.http.plain_posts import PlainPosts
from server.legacy.database import LegacyDatabase
from server.routes.device_posts import device_posts
from server.services.firestore.document_history import DocumentHistory
from server.services.firestore.service_factory import create_stores
from server.services.ports.indexes import load_indexes
from server.services.site.factory import shared_redis, single_process_site
from server.services.site.ports import SharedSite
from server.services.sqlite.factory import SqliteFiles, legacy_mirror, sqlite_store
from server.services.sse_service.factory import shared_log, sse_service
from server.services.sse_service.memory_log import MemoryLog
from server.sync_api.script_loop import running
from server.sync_api.services import Services, sync_services

INDEXES = Path(__file__).resolve().parent / "infra" / "firestore.indexes.json"
FINISH_S = 0.5


@asynccontextmanager
async def open_base(
    config: ServerConfig,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    shared: SharedSite | None = None,
    serving: bool = False,
) -> AsyncIterator[Base]:
    """Open the stores within the block; Firestore's documents are cached only with a `shared` site.

    Raises StoreUnavailable, unless `serving`: devices are answered without a store too.
    """
    indexes, clock, metrics = load_indexes(INDEXES), clock or SystemClock(), metrics or Metrics()
    async with AsyncExitStack() as resources:
        enter = resources.enter_async_context
        sqlite = await enter(sqlite_store(config, indexes, clock, metrics, patient=serving))
        opening = stores_client(config, sqlite.client, indexes, clock, metrics, shared, serving)
        client, site_clock = await enter(opening)
        on_firestore, days = config.use_firestore_telemetry, config.telemetry_days
        history = DocumentHistory(client, days) if on_firestore else sqlite.history
        stores = create_stores(client, history, site_clock, config.audit_days, metrics)
        resources.push_async_callback(stores.watch.stop)
        if serving:
            if not on_firestore:
                # Any failed write shows that the store is away, also one of a log-in or a clean-up.
                sqlite.client.writer.on_failure = stores.watch.lose
            await stores.watch.check()
        access = create_auth(config, stores, site_clock, metrics)
        resources.callback(access.passwords.close)
        resources.push_async_callback(access.logins.work.close, FINISH_S)
        own = *sqlite.parts(client, stores.zones.newest_ms, clock), stores, access
        yield Base(config, clock, site_clock, metrics, client, *own, Admin(stores, access))


@asynccontextmanager
async def open_both(config: ServerConfig) -> AsyncIterator[dict[str, CopyEnd]]:
    """Open SQLite and Firestore within the block, whichever of them the settings use."""
    parts = load_indexes(INDEXES), SystemClock(), Metrics()
    opening = sqlite_store(config, *parts), connected_firestore(config, *parts, copying=True)
    async with opening[0] as own, opening[1] as google:
        there = CopyEnd(google, DocumentHistory(google, config.telemetry_days))
        yield {"sqlite": CopyEnd(own.client, own.history), "firestore": there}


@asynccontextmanager
async def open_site(
    config: ServerConfig, clock: Clock | None = None, serving: bool = False
) -> AsyncIterator[Site]:
    """Open everything but HTTP: scripts use it directly, and a server process adds HTTP to it."""
    async with AsyncExitStack() as resources:
        enter = resources.enter_async_context
        clock, metrics = clock or SystemClock(), Metrics()
        bounds = {"max_events": config.sse_history_events, "max_bytes": config.sse_history_bytes}
        redis = await enter(shared_redis(config.shared_redis_url, clock, metrics, serving))
        common_log = await enter(shared_log(redis, clock, metrics, config.data_dir, **bounds))
        event_log = common_log or MemoryLog(**bounds)
        shared = redis.shared if redis else single_process_site(event_log)
        base = await enter(open_base(config, clock, metrics, shared, serving))
        stores, clock = base.stores, base.site_clock
        sse = await enter(
            sse_service(
                *(event_log, clock, metrics),
                queue_max=config.sse_queue_max,
                flush_max_s=config.sse_flush_ms / 1000,
                heartbeat_s=config.sse_heartbeat_s,
                limits=config.stream_limits,
                census=common_log.leases if common_log else None,
            )
        )
        alarms = create_alarms(config, stores, sse, shared.notices, clock, metrics)
        mirror = await enter(legacy_mirror(config.legacy_mirror, clock, metrics))
        beside = clock, metrics, rules_of(config), alarms.watch.observe, mirror
        decide = await enter(control(stores, sse, shared.notices, *beside))
        services = await enter(sync_services(config, stores, base.auth, sse, clock, metrics))
        yield Site(base, sse, decide, services, alarms)


@asynccontextmanager
async def open_container(
    config: ServerConfig, clock: Clock | None = None
) -> AsyncIterator[Container]:
    """Open and run all that a server process needs; on exit it closes in reverse order."""
    async with AsyncExitStack() as resources:
        site = await resources.enter_async_context(open_site(config, clock, serving=True))
        base, access, sse, deciding = site.base, site.base.auth, site.sse, site.control
        clock, counts = base.site_clock, base.metrics.ordinary_posts
        watch = SessionWatch(sse.hub, access.ends)
        for task in (*base.tasks, *site.alarms.tasks, deciding.watch, watch):
            task.start()
            resources.push_async_callback(task.stop)
        posts = device_posts(config, deciding, access.keys, base.stores.audit, base.metrics, clock)
        resources.push_async_callback(posts.close, FINISH_S)
        parts = clock, base.metrics, base.client, base.stores, access, sse, deciding, posts, watch
        routes = blueprints(config, *parts, base.raise_if_damaged, site.alarms)
        app = create_app(config, routes, access.guard, site.services, base.metrics)
        plain = PlainPosts(posts, deciding.work, common_headers(config), counts)
        yield Container(base, sse, deciding, site.services, site.alarms, app, plain)


@contextmanager
def open_bridge(config: ServerConfig) -> Iterator[Services]:
    """Give a script the sync faces, whose event loop runs in a separate thread."""
    with running(lambda: open_site(config)) as site:
        yield site.services


if __name__ == "__main__":
    files = SqliteFiles(INDEXES)
    sys.exit(main(sys.argv[1:], open_base, open_container, open_both, LegacyDatabase, files))
