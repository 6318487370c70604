"""The proofs that a process is well, for /readyz, for the supervisor and for the heartbeat."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from server.common.clock import Clock
from server.common.disk_room import DiskRoom
from server.common.shared_check import CHECK_S, Checks, SharedCheck
from server.config.config import ServerConfig
from server.services.firestore.routing import AUDIT, collections_on_firestore
from server.services.firestore.service_factory import Stores
from server.services.firestore.store_watch import StoreWatch
from server.services.ports.documents import DocumentClient
from server.services.site.site_clock import SiteClock
from server.services.sse_service.service import SSEService


def checks_of(
    config: ServerConfig,
    clock: Clock,
    client: DocumentClient,
    stores: Stores,
    sse: SSEService,
    raise_if_damaged: Callable[[], None],
) -> Checks:
    """Each check by its name; it returns if all is well, and raises Unavailable otherwise.

    `clock` is the one that all processes of the site share.
    """
    shared = partial(SharedCheck, clock=clock, slow_s=CHECK_S)
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
    return checks


async def _undamaged(raise_if_damaged: Callable[[], None]) -> None:
    raise_if_damaged()


async def _stores(watch: StoreWatch, proved: Callable[[], Awaitable[None]]) -> None:
    """Return if the store accepts readings; else raise StoreUnavailable."""
    watch.raise_if_away()
    await proved()


async def _proved(*checks: Callable[[], Awaitable[None]]) -> None:
    for check in checks:
        await check()
