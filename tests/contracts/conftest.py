"""The stores that the contracts are for: of documents, and of readings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bas_server import INDEXES
from server.common.metrics import Metrics
from server.services.firestore import init_client
from server.services.ports.documents import DocumentClient
from server.services.ports.indexes import load_indexes
from server.services.sqlite.client import SqliteClient
from tests.support.clock import ManualClock
from tests.support.history_stores import OPENERS, Store, Stores
from tools.firestore_emulator import FirestoreEmulator, fresh_project

DECLARED = load_indexes(INDEXES)


@pytest.fixture(params=["sqlite", "firestore"])
async def client(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[DocumentClient]:
    """An empty store of documents: SQLite's, then Firestore's."""
    async with AsyncExitStack() as resources:
        store: SqliteClient
        if request.param == "sqlite":
            store = SqliteClient(tmp_path / "store.db", DECLARED, clock, Metrics())
            await store.open()
            resources.push_async_callback(store.close)
            yield store
        else:
            emulator: FirestoreEmulator = request.getfixturevalue("firestore")
            host, project = emulator.host, fresh_project()
            google = init_client(host, DECLARED, clock, Metrics(), project)
            resources.push_async_callback(google.close)
            yield google


@pytest.fixture(params=OPENERS)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    async with AsyncExitStack() as resources:
        yield Stores(OPENERS[request.param], request, resources)


@pytest.fixture
async def store(stores: Stores) -> Store:
    return await stores.open()
