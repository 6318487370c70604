"""The stores of readings that the contract of ReadingHistory is for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.history_stores import OPENERS, Store, Stores


@pytest.fixture(params=OPENERS)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    async with AsyncExitStack() as resources:
        yield Stores(OPENERS[request.param], request, resources)


@pytest.fixture
async def store(stores: Stores) -> Store:
    return await stores.open()
