"""When a zone's setpoint changed: exact to a second, with a bounded number of looks."""

from __future__ import annotations

from bisect import bisect_right

from server.services.history.setpoint_search import FIRST_LOOKS, LOOKS_MAX, setpoint_changes
from server.services.ports.readings import ChangedSetpoint, Reading

DAY_MS = 86_400_000


class History:
    """Readings every two seconds, with the setpoint that was in force; counts the looks."""

    def __init__(self, changes: list[tuple[int, int]], first_ms: int = 0) -> None:
        self._times = [t for t, _ in changes]
        self._setpoints = [setpoint for _, setpoint in changes]
        self._first_ms = first_ms
        self.looks = 0

    async def newest_at(self, time_ms: int) -> Reading | None:
        self.looks += 1
        time_ms -= time_ms % 2000
        if time_ms < self._first_ms:
            return None
        setpoint = self._setpoints[bisect_right(self._times, time_ms) - 1]
        return Reading(
            tenant_id="default",
            device_id="lab",
            timestamp_ms=time_ms,
            temp_tenths=215,
            setpoint_tenths=setpoint,
            deadband_tenths=10,
            cool_active=False,
            heat_active=True,
            state="IDLE",
            sensor_ok=True,
        )


async def test_each_change_is_found_to_the_second_within_ninety_days() -> None:
    history = History([(0, 230), (5 * DAY_MS + 4_000, 215), (60 * DAY_MS + 2_000, 240)])

    found = await setpoint_changes(history.newest_at, DAY_MS, 91 * DAY_MS)

    assert found == [
        ChangedSetpoint(DAY_MS, 230, 10),
        ChangedSetpoint(5 * DAY_MS + 4_000, 215, 10),
        ChangedSetpoint(60 * DAY_MS + 2_000, 240, 10),
    ]
    assert history.looks < 2 * FIRST_LOOKS


async def test_a_zone_that_is_younger_than_the_span_begins_with_its_first_reading() -> None:
    history = History([(0, 230)], first_ms=DAY_MS)

    (found,) = await setpoint_changes(history.newest_at, 0, 2 * DAY_MS)

    assert (found.t, found.setpoint_tenths) == (DAY_MS, 230)
    assert await setpoint_changes(History([(0, 1)], first_ms=9).newest_at, 0, 5) == []


async def test_a_setpoint_that_changes_all_the_time_costs_a_bounded_number_of_looks() -> None:
    history = History([(hour * 3_600_000, 200 + hour % 50) for hour in range(90 * 24)])

    found = await setpoint_changes(history.newest_at, 0, 90 * DAY_MS)

    assert history.looks <= FIRST_LOOKS + LOOKS_MAX + 1
    assert len(found) > FIRST_LOOKS / 2
    assert [one.t for one in found] == sorted(one.t for one in found)
