"""Opens Firestore: in production with its credentials, or the emulator without any."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from server.clock import Clock
from server.config.config import ServerConfig
from server.metrics import Metrics
from server.neighbours import CacheOf, Neighbours
from server.services.firestore import LOCAL_PROJECT, init_client
from server.services.firestore.base import DocumentClient, StoreUnavailable
from server.services.firestore.caching import CachingClient
from server.services.firestore.indexes import Index
from server.services.firestore.routing import RoutingClient, collections_on_firestore

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

    from server.services.firestore.client import FirestoreClient

SCOPE = "https://www.googleapis.com/auth/datastore"
# Outside Google's cloud, its library asks for a machine's own credentials several times.
CREDENTIALS_S = 15.0
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
    neighbours: Neighbours | None,
    serving: bool = False,
) -> AsyncIterator[DocumentClient]:
    """The client of all stores: `sqlite`, but for the collections that the settings keep in
    Firestore. With `neighbours` some of these are remembered for a while."""
    if not config.uses_firestore:
        yield sqlite
        return
    moved = collections_on_firestore(config)
    async with connected_firestore(config, indexes, clock, metrics, serving) as firestore:
        client = RoutingClient(sqlite, dict.fromkeys(moved, firestore), metrics)
        if neighbours is None:
            yield client
            return
        if neighbours.cache is not None:
            where = config.firestore_emulator_host if config.use_emulators else "google"
            cache = CacheOf(neighbours.cache, f"{where}/{firestore.database}")
            neighbours = replace(neighbours, cache=cache)
        yield CachingClient(client, moved, neighbours, clock, metrics)


@asynccontextmanager
async def connected_firestore(
    config: ServerConfig,
    indexes: Iterable[Index],
    clock: Clock,
    metrics: Metrics,
    serving: bool = False,
) -> AsyncIterator[FirestoreClient]:
    """The client that the settings name, of a Firestore that answered, or may answer later for a
    server that is `serving`; closed afterwards."""
    client = await open_firestore(
        indexes,
        clock,
        metrics,
        project=config.google_cloud_project,
        emulator_host=config.firestore_emulator_host if config.use_emulators else "",
    )
    try:
        await _ping(client, serving)
        yield client
    finally:
        await client.close()


async def _ping(client: FirestoreClient, serving: bool) -> None:
    try:
        await client.ping()
    except StoreUnavailable as error:
        if not serving:
            raise
        log.error("serving without Firestore until it answers: %s", error.message)


async def open_firestore(
    indexes: Iterable[Index],
    clock: Clock,
    metrics: Metrics,
    *,
    project: str = "",
    emulator_host: str = "",
) -> FirestoreClient:
    """A client of the emulator at `emulator_host` (host:port) if that is given, else of production.

    Without a `project` the emulator's is `local-dev`, and production's the one that the
    application default credentials name. What the environment says of an emulator has no effect.
    StoreUnavailable when the settings or credentials cannot be right, saying what to do. Nothing
    is asked of Firestore yet: `ping` does. The client belongs to the running event loop.
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
        return init_client(emulator_host, indexes, clock, metrics, project or LOCAL_PROJECT)
    credentials, named = await _default_credentials()
    if not project and not named:
        raise StoreUnavailable(
            message="The Google credentials name no project: set GOOGLE_CLOUD_PROJECT"
        )
    from server.services.firestore.client import FirestoreClient
    from server.services.firestore.firestore_connection import production_client

    google = production_client(project or named, credentials)
    return FirestoreClient(google, indexes, clock, metrics)


async def _default_credentials() -> tuple[Credentials, str]:
    """The application default credentials, and their project or "".

    In a thread: files are read, and outside a file Google's metadata server is asked.
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
