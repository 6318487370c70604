"""What is remembered of zones: a slot of each, and no room for zones that are none."""

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


async def heard(cache, name):
    """A zone whose device was told something."""
    async with cache.locked(T, name) as slot:
        slot.keep(Versioned(zone(name), "1"))
    return slot


def test_what_the_store_has_is_kept_as_it_is_where_nothing_else_was_told():
    slot = Slot()
    slot.apart = slot.joined = 2
    slot.unstored = True
    slot.keep(Versioned(zone(cool=True), "7"))
    assert (slot.current.version, slot.told) == ("7", slot.current.zone)
    assert (slot.apart, slot.joined, slot.unstored) == (0, 0, False)


def test_what_was_told_meanwhile_is_not_lost_by_a_write_that_was_decided_before():
    slot = Slot()
    slot.told, slot.unstored = zone(cool=False), True
    slot.apart, slot.joined = 3, 2  # a cut after `current` was joined
    slot.keep(Versioned(zone(cool=True), "7"))
    assert slot.current is None
    assert (slot.told.cool, slot.unstored) == (False, True)
    assert (slot.apart, slot.joined) == (3, 2)


async def test_when_the_store_is_back_no_slot_believes_what_it_had(cache):
    slot = await heard(cache, "lab")
    cache.doubt_all()
    assert (slot.current, slot.told) == (None, zone("lab"))
    assert slot.apart != slot.joined


async def test_only_zones_of_which_memory_knows_more_are_told_apart_from_the_store(cache):
    for name in ("a", "b"):
        await heard(cache, name)
    cache.peek(T, "b").unstored = True
    async with cache.locked("elsewhere", "c") as slot:
        slot.keep(Versioned(zone("c"), "1"))
    assert cache.told(T).keys() == {"b"}
    assert cache.told(T, all_of_them=True).keys() == {"a", "b"}
    assert list(cache.unstored()) == [(T, "b")]


@pytest.mark.parametrize("together", [False, True])
async def test_made_up_names_push_out_no_zone(cache, monkeypatch, together):
    monkeypatch.setattr(zone_cache, "ZONES_MAX", 3)
    for name in "abc":
        await heard(cache, name)
    made_up = [f"made-up-{number}" for number in range(10)]
    if together:
        async with cache.locked_if_free(T, made_up) as slots:
            assert slots.keys() == set(made_up)
    for name in made_up:
        async with cache.locked(T, name):
            pass  # and nothing was told: it was refused
    assert all(cache.peek(T, name) for name in "abc")
    assert not any(cache.peek(T, name) for name in made_up)


async def test_a_zone_too_many_takes_the_place_of_an_idle_one_that_the_store_knows(
    cache, monkeypatch
):
    monkeypatch.setattr(zone_cache, "ZONES_MAX", 3)
    for name in "abc":
        await heard(cache, name)
    cache.peek(T, "a").unstored = True
    async with cache.locked(T, "b"):
        await heard(cache, "d")
    assert {name for name in "abcd" if cache.peek(T, name)} == {"a", "b", "d"}


async def test_a_made_up_name_is_kept_while_somebody_waits_for_it(cache):
    async with cache.locked(T, "made-up") as slot:
        waiting = asyncio.create_task(heard(cache, "made-up"))
        await asyncio.sleep(0)
    assert await waiting is slot
    assert cache.peek(T, "made-up") is slot


async def test_without_the_store_a_new_slot_is_made_only_where_there_is_room(cache, monkeypatch):
    monkeypatch.setattr(zone_cache, "ZONES_MAX", 1)
    slot = cache.slot_if_room(T, "a")
    assert cache.slot_if_room(T, "a") is slot
    assert cache.slot_if_room(T, "b") is None


async def test_a_zone_has_no_more_waiting_for_it_than_may_be(cache, monkeypatch):
    monkeypatch.setattr(zone_cache, "WAITING_FOR_ONE_ZONE_MAX", 1)
    async with cache.locked(T, "a"):
        with pytest.raises(ZoneBusy):
            async with cache.locked(T, "a"):
                pass
        async with cache.locked_if_free(T, ["a", "b"]) as slots:
            assert slots.keys() == {"b"}
