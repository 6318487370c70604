"""ZoneCache: a cached tenant's settings are at most two seconds old, and are read again after
they are dropped."""

from __future__ import annotations

import asyncio

import pytest

from server.control.zone_cache import ZoneCache
from server.services.firestore.models import TenantSettings
from server.services.firestore.zones_store import VersionedSettings


class Store:
    """A store of settings that a test can make wait; it counts how often it is asked."""

    def __init__(self):
        self.revision, self.asked = 1, 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def settings(self, tenant_id):
        self.asked += 1
        read = TenantSettings(tenant_id=tenant_id, revision=self.revision)
        await self.answers.wait()
        return VersionedSettings(read, "1")


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def cache(store, clock):
    return ZoneCache(store, None, clock)


async def revision(cache):
    return (await cache.settings("t")).revision


async def test_settings_are_read_once_in_two_seconds(cache, store, clock):
    assert await revision(cache) == 1
    store.revision = 2
    clock.advance(1.999)
    assert (await revision(cache), store.asked) == (1, 1)
    clock.advance(0.001)
    assert (await revision(cache), store.asked) == (2, 2)


async def test_dropped_settings_are_read_at_the_next_use_and_then_cached(cache, store):
    await revision(cache)
    store.revision = 2
    cache.forget_settings("t")
    assert [await revision(cache) for _ in range(3)] == [2, 2, 2]
    assert store.asked == 2


async def test_dropping_one_tenant_s_settings_keeps_those_of_the_others(cache, store):
    await cache.settings("t")
    cache.forget_settings("other")
    await cache.settings("t")
    assert store.asked == 1


@pytest.mark.parametrize("times", [0, 1])
async def test_settings_that_are_dropped_during_their_read_are_not_cached(cache, store, times):
    for _ in range(times):
        cache.forget_settings("t")
    store.answers.clear()
    reading = asyncio.create_task(cache.settings("t"))
    await asyncio.sleep(0)
    store.revision = 2
    cache.forget_settings("t")
    store.answers.set()
    await reading
    assert await revision(cache) == 2
