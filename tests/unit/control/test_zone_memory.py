"""ZoneCache: one slot for each known zone, and none for made-up names."""

from __future__ import annotations

import asyncio

import pytest

from server.control import zone_cache
from server.control.zone_cache import Slot, ZoneBusy, ZoneCache
from server.services.firestore.models import ZoneRecord
from server.services.firestore.zones_store import Versioned

T = "default"


def zone(name="lab", **more):
    return ZoneRecord(tenant_id=T, device_id=name, **more)


@pytest.fixture
def cache(clock):
    return ZoneCache(None, None, clock)


async def answered(cache, name):
    """A zone whose device got an answer."""
    async with cache.locked(T, name) as slot:
        slot.keep(Versioned(zone(name), "1"))
    return slot


def test_a_stored_record_replaces_the_slot_when_no_other_answer_was_given():
    slot = Slot()
    slot.divergences = slot.merged = 2
    slot.unstored = True
    slot.keep(Versioned(zone(cool=True), "7"))
    assert (slot.current.version, slot.commanded) == ("7", slot.current.zone)
    assert (slot.divergences, slot.merged, slot.unstored) == (0, 0, False)


def test_a_write_that_was_decided_earlier_does_not_overwrite_a_later_answer():
    slot = Slot()
    slot.commanded, slot.unstored = zone(cool=False), True
    slot.divergences, slot.merged = 3, 2  # a cut after `current` was joined
    slot.keep(Versioned(zone(cool=True), "7"))
    assert slot.current is None
    assert (slot.commanded.cool, slot.unstored) == (False, True)
    assert (slot.divergences, slot.merged) == (3, 2)


async def test_when_the_store_is_back_every_slot_reads_its_record_again(cache):
    slot = await answered(cache, "lab")
    cache.doubt_all()
    assert (slot.current, slot.commanded) == (None, zone("lab"))
    assert slot.divergences != slot.merged


async def test_only_zones_whose_memory_is_newer_than_the_store_are_listed(cache):
    for name in ("a", "b"):
        await answered(cache, name)
    cache.peek(T, "b").unstored = True
    async with cache.locked("elsewhere", "c") as slot:
        slot.keep(Versioned(zone("c"), "1"))
    assert cache.commanded(T).keys() == {"b"}
    assert cache.commanded(T, all_of_them=True).keys() == {"a", "b"}
    assert list(cache.unstored()) == [(T, "b")]


@pytest.mark.parametrize("together", [False, True])
async def test_made_up_names_evict_no_zone(cache, monkeypatch, together):
    monkeypatch.setattr(zone_cache, "ZONES_MAX", 3)
    for name in "abc":
        await answered(cache, name)
    made_up = [f"made-up-{number}" for number in range(10)]
    if together:
        async with cache.locked_if_free(T, made_up) as slots:
            assert slots.keys() == set(made_up)
    for name in made_up:
        async with cache.locked(T, name):
            pass  # no answer was kept, as for a refused post
    assert all(cache.peek(T, name) for name in "abc")
    assert not any(cache.peek(T, name) for name in made_up)


async def test_one_zone_too_many_evicts_an_idle_zone_that_is_stored(cache, monkeypatch):
    monkeypatch.setattr(zone_cache, "ZONES_MAX", 3)
    for name in "abc":
        await answered(cache, name)
    cache.peek(T, "a").unstored = True
    async with cache.locked(T, "b"):
        await answered(cache, "d")
    assert {name for name in "abcd" if cache.peek(T, name)} == {"a", "b", "d"}


async def test_a_slot_that_another_caller_waits_for_is_kept(cache):
    async with cache.locked(T, "made-up") as slot:
        waiting = asyncio.create_task(answered(cache, "made-up"))
        await asyncio.sleep(0)
    assert await waiting is slot
    assert cache.peek(T, "made-up") is slot


async def test_without_the_store_a_slot_is_created_only_if_there_is_room(cache, monkeypatch):
    monkeypatch.setattr(zone_cache, "ZONES_MAX", 1)
    slot = cache.slot_if_room(T, "a")
    assert cache.slot_if_room(T, "a") is slot
    assert cache.slot_if_room(T, "b") is None


async def test_a_caller_beyond_a_zone_s_waiting_limit_is_refused(cache, monkeypatch):
    monkeypatch.setattr(zone_cache, "WAITING_FOR_ONE_ZONE_MAX", 1)
    async with cache.locked(T, "a"):
        with pytest.raises(ZoneBusy):
            async with cache.locked(T, "a"):
                pass
        async with cache.locked_if_free(T, ["a", "b"]) as slots:
            assert slots.keys() == {"b"}
