"""A zone that has spoken for less than an hour is kept for a day after its last post."""

from __future__ import annotations

import msgspec

from server.services.firestore.models import DAY_MS, ZoneRecord
from server.services.firestore.zones_store import ZonesStore
from tests.support.http import Caller, reading

MINUTE_MS = 60_000


async def days_kept(container, clock):
    """For how many days zone `lab` is kept after a post."""
    await Caller(container.app).post("/api/sensor_data", reading(device_id="lab"))
    zone = (await container.base.stores.zones.get("default", "lab")).zone
    return (zone.expire_at - clock.now_ms()) / DAY_MS


async def test_a_zone_is_kept_for_a_day_until_it_has_spoken_for_an_hour(container, clock):
    kept = []
    for _ in range(9):
        kept.append(await days_kept(container, clock))
        clock.advance(10 * 60)
    assert kept == [1] * 6 + [30] * 3


async def test_a_long_silence_counts_as_a_quarter_of_an_hour(container, clock):
    kept = []
    for _ in range(6):
        kept.append(await days_kept(container, clock))
        clock.advance(20 * 3600)
    assert kept == [1] * 4 + [30] * 2


async def test_a_zone_of_an_earlier_version_is_kept_for_30_days(container, clock):
    zone = ZoneRecord(
        tenant_id="default",
        device_id="lab",
        last_seen_ms=clock.steady_ms() - MINUTE_MS,
        expire_at=clock.now_ms() - MINUTE_MS + 30 * DAY_MS,
    )
    await container.base.client.write([ZonesStore.zone_write(zone, None)])
    assert await days_kept(container, clock) == 30
    zone = (await container.base.stores.zones.get("default", "lab")).zone
    assert msgspec.to_builtins(zone).get("spoken_ms") is None
