#!/usr/bin/env python3
"""Composition root: settings -> Container -> app -> serve; it alone names implementations."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from server.adapters.own_loop import running
from server.adapters.services import Services, sync_services
from server.admin import Admin
from server.app import common_headers, create_app, error_answer
from server.auth.factory import create_auth
from server.auth.firestore_client import connected_firestore, stores_client
from server.auth.session_watch import SessionWatch
from server.blueprints import blueprints, device_posts
from server.cli import main
from server.clock import Clock, SystemClock
from server.config.config import ServerConfig
from server.container import Base, Container, Site
from server.control.factory import control, rules_of
from server.metrics import Metrics
from server.neighbours import Neighbours
from server.routes.plain_posts import PlainPosts
from server.services.embedded.legacy_database import LegacyDatabase
from server.services.embedded.retention import RetentionTask
from server.services.embedded.sqlite_client import SqliteClient
from server.services.firestore.base import DocumentClient
from server.services.firestore.indexes import load_indexes
from server.services.firestore.service_factory import create_stores
from server.services.sse_service.factory import shared_log, sse_service
from server.services.sse_service.memory_backend import MemoryLog

INDEXES = Path(__file__).resolve().parent / "infra" / "firestore.indexes.json"
FINISH_LOGINS_S, FINISH_ENTRIES_S = 0.5, 0.2


@asynccontextmanager
async def open_base(
    config: ServerConfig,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    neighbours: Neighbours | None = None,
    serving: bool = False,
) -> AsyncIterator[Base]:
    """The stores, open meanwhile; what is in Firestore is remembered only with `neighbours`.

    Raises StoreUnavailable, unless `serving`: devices are answered without a store too.
    """
    indexes, clock, metrics = load_indexes(INDEXES), clock or SystemClock(), metrics or Metrics()
    async with AsyncExitStack() as resources:
        sqlite = SqliteClient(config.database, indexes, clock, metrics, patient=serving)
        await resources.enter_async_context(sqlite)
        opening = stores_client(config, sqlite, indexes, clock, metrics, neighbours, serving)
        client = await resources.enter_async_context(opening)
        stores = create_stores(client, clock, config.audit_days, metrics)
        resources.push_async_callback(stores.watch.stop)
        if serving:
            if not config.use_firestore_telemetry:
                sqlite.writer.on_failure = stores.watch.lose  # a failed log-in or clean-up too
            await stores.watch.check()
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
async def open_site(
    config: ServerConfig, clock: Clock | None = None, serving: bool = False
) -> AsyncIterator[Site]:
    """Everything but HTTP: what a script works with, and what a server process is built on."""
    async with AsyncExitStack() as resources:
        clock, metrics = clock or SystemClock(), Metrics()
        bounds = {"max_events": config.sse_history_events, "max_bytes": config.sse_history_bytes}
        shared = await resources.enter_async_context(
            shared_log(config.shared_redis_url, clock, metrics, **bounds)
        )
        event_log = shared or MemoryLog(**bounds)
        neighbours = event_log.neighbours
        opening_base = open_base(config, clock, metrics, neighbours, serving)
        base = await resources.enter_async_context(opening_base)
        stores = base.stores
        sse = await resources.enter_async_context(
            sse_service(
                event_log,
                clock,
                metrics,
                queue_max=config.sse_queue_max,
                flush_max_s=config.sse_flush_ms / 1000,
                heartbeat_s=config.sse_heartbeat_s,
                max_streams=config.sse_max_streams,
                census=shared.leases if shared else None,
            )
        )
        opening = control(stores, sse, neighbours.notices, clock, metrics, rules_of(config))
        deciding = await resources.enter_async_context(opening)
        services = await resources.enter_async_context(
            sync_services(config, stores, base.auth, sse, clock, metrics)
        )
        yield Site(base, sse, deciding, services)


@asynccontextmanager
async def open_container(
    config: ServerConfig, clock: Clock | None = None
) -> AsyncIterator[Container]:
    """Everything a server process needs, running meanwhile; it closes in reverse order."""
    async with AsyncExitStack() as resources:
        site = await resources.enter_async_context(open_site(config, clock, serving=True))
        base, sse, deciding, services = site.base, site.sse, site.control, site.services
        access, sessions = base.auth, base.auth.sessions
        retention = RetentionTask(base.expiring, base.clock, base.metrics)
        retention.start()
        resources.push_async_callback(retention.stop)
        deciding.watch.start()
        resources.push_async_callback(deciding.watch.stop)
        watch = SessionWatch(sse.hub.owners, sessions.lost, sse.hub.end_owned)
        watch.start()
        resources.push_async_callback(watch.stop)
        posts = device_posts(base, deciding)
        resources.push_async_callback(posts.close, FINISH_ENTRIES_S)
        routes = blueprints(base, sse, deciding, posts, watch)
        app = create_app(config, routes, access.guard, services)
        plain = PlainPosts(posts, common_headers(config), error_answer)
        yield Container(base, sse, deciding, services, app, plain)


@contextmanager
def open_bridge(config: ServerConfig) -> Iterator[Services]:
    """The sync faces for a script, on an event loop in a thread of its own."""
    with running(lambda: open_site(config)) as site:
        yield site.services


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], open_base, open_container, open_both, LegacyDatabase))
