"""Opens Firestore: the production service with credentials, or the emulator without."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.common.slow_start import said_if_slow
from server.config.config import ServerConfig
from server.services.firestore import LOCAL_PROJECT, init_client
from server.services.firestore.cache.client import CachingClient
from server.services.firestore.routing import RoutingClient, collections_on_firestore
from server.services.ports.documents import DocumentClient, StoreUnavailable
from server.services.ports.indexes import Index
from server.services.site.ports import CacheOf, SharedSite
from server.services.site.site_clock import site_clock

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from server.services.firestore.google.client import FirestoreClient

SCOPE = "https://www.googleapis.com/auth/datastore"
# Outside Google's cloud, its library asks for the machine's credentials several times.
CREDENTIALS_S = 15.0
# A command waits so long for a Firestore that is slow at first, as an emulator that just started.
PING_S, PING_PAUSE_S = 15.0, 0.5
log = logging.getLogger(__name__)

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/]+):[0-9]{1,5}")
# https://cloud.google.com/resource-manager/docs/creating-managing-projects
_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")


@asynccontextmanager
async def stores_client(
    config: ServerConfig,
    sqlite: DocumentClient,
    indexes: Iterable[Index],
    clock: Clock,
    metrics: Metrics,
    site: SharedSite | None,
    serving: bool = False,
) -> AsyncIterator[tuple[DocumentClient, Clock]]:
    """The client of all stores, and the clock that is the same in all processes on them.

    The client is SQLite, or Firestore for the collections set so. With `site`, documents of some of
    the Firestore collections are cached for a while. The clock is that of Redis, or else of
    Firestore; with SQLite alone all processes are on one machine, so it is the machine's.
    """
    common = site.clock if site else None
    if not config.uses_firestore:
        yield sqlite, common or clock
        return
    moved = collections_on_firestore(config)
    async with AsyncExitStack() as resources:
        enter = resources.enter_async_context
        firestore = await enter(connected_firestore(config, indexes, clock, metrics, serving))
        if common is None:
            common = await enter(site_clock(clock, firestore.time_ms, metrics, "Firestore"))
        client = RoutingClient(sqlite, dict.fromkeys(moved, firestore), metrics)
        if site is None:
            yield client, common
            return
        if site.cache is not None:
            where = config.firestore_emulator_host if config.use_emulators else "google"
            cache = CacheOf(site.cache, f"{where}/{firestore.database}")
            site = replace(site, cache=cache)
        yield CachingClient(client, moved, site, common, metrics), common


@asynccontextmanager
async def connected_firestore(
    config: ServerConfig,
    indexes: Iterable[Index],
    clock: Clock,
    metrics: Metrics,
    serving: bool = False,
    copying: bool = False,
) -> AsyncIterator[FirestoreClient]:
    """The Firestore client that the settings name, closed afterwards.

    Firestore must answer now; for a server that is `serving`, it may answer later. A client for
    `copying` waits longer for each answer.
    """
    client = await open_firestore(
        indexes,
        clock,
        metrics,
        project=config.google_cloud_project,
        emulator_host=config.firestore_emulator_host if config.use_emulators else "",
        copying=copying,
    )
    try:
        await _ping(client, serving)
        yield client
    finally:
        await client.close()


async def _ping(client: FirestoreClient, serving: bool) -> None:
    deadline = asyncio.get_running_loop().time() + (0.0 if serving else PING_S)
    try:
        async with said_if_slow("Firestore does not answer"):
            while True:
                try:
                    await client.ping()
                    return
                except StoreUnavailable:
                    if asyncio.get_running_loop().time() >= deadline:
                        raise
                await asyncio.sleep(PING_PAUSE_S)
    except StoreUnavailable as error:
        if not serving:
            raise
        log.error(
            "Firestore does not answer (%s): the server starts without it and retries",
            error.message,
        )


async def open_firestore(
    indexes: Iterable[Index],
    clock: Clock,
    metrics: Metrics,
    *,
    project: str = "",
    emulator_host: str = "",
    copying: bool = False,
) -> FirestoreClient:
    """A client of the emulator at `emulator_host` (host:port), or of production if that is empty.

    Without `project`, the emulator's project is `local-dev` and production's is the one that the
    application default credentials name. Environment variables about an emulator have no effect.
    Raises StoreUnavailable, with the remedy, if the settings or credentials cannot be right. It
    does not call Firestore: `ping` does. The client belongs to the running event loop.
    """
    if project and not _PROJECT.fullmatch(project):
        raise StoreUnavailable(
            message=f"GOOGLE_CLOUD_PROJECT={project} is not a project's id: 6 to 30 of a-z 0-9 -,"
            " beginning with a letter"
        )
    if emulator_host:
        if not _HOST.fullmatch(emulator_host):
            raise StoreUnavailable(
                message=f"FIRESTORE_EMULATOR_HOST={emulator_host} is not host:port,"
                " such as 127.0.0.1:28080"
            )
        return init_client(
            emulator_host, indexes, clock, metrics, project or LOCAL_PROJECT, copying
        )
    credentials, named = await _default_credentials()
    if not project and not named:
        raise StoreUnavailable(
            message="The Google credentials name no project: set GOOGLE_CLOUD_PROJECT"
        )
    from server.services.firestore.google.client import FirestoreClient
    from server.services.firestore.google.connection import production_client

    google = production_client(project or named, credentials)
    return FirestoreClient(google, indexes, clock, metrics, copying=copying)


async def _default_credentials() -> tuple[Credentials, str]:
    """The application default credentials, and their project or "".

    Runs in a thread, since it reads files or asks Google's metadata server.
    """
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        async with asyncio.timeout(CREDENTIALS_S):
            credentials, project = await asyncio.to_thread(google.auth.default, scopes=[SCOPE])
    except (GoogleAuthError, TimeoutError) as error:
        raise StoreUnavailable(
            message="No Google credentials for Firestore: set GOOGLE_APPLICATION_CREDENTIALS to a"
            " service account's file, run `gcloud auth application-default login`, or set"
            f" USE_EMULATORS and FIRESTORE_EMULATOR_HOST ({error})"
        ) from error
    return credentials, project or ""
