"""A zone posts to three processes in turn, and one of them restarts in the middle."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.support.unreliable import Site, of

pytestmark = pytest.mark.sqlite_only("its own store")

COOL = 200
JUMP = ("suspect", "jump")


@pytest.fixture
async def site(tmp_path, clock):
    async with AsyncExitStack() as resources:
        yield Site(tmp_path / "bas.db", clock, resources)


async def play(site, clock, temps):
    """Posts every 2 s: whether the cooler runs after each post."""
    cool = []
    for number, temp in enumerate(temps):
        clock.advance(2)
        if number == len(temps) // 2:
            site.processes[1] = await site.start()
        command = await site.processes[number % 3].post(temp)
        cool.append(command.cool_active)
    return cool


@pytest.mark.parametrize(
    ("temps", "cool", "expected"),
    [
        # A spike of one reading.
        ([850, COOL, COOL], [False] * 3, [JUMP, ("ok", None)]),
        # A spike of two readings.
        ([600, 605, COOL], [False] * 3, [JUMP, ("ok", None)]),
        # A door that was opened.
        ([350, 420, 500, 500], [False, False, True, True], [JUMP, ("ok", None)]),
        # A sensor that only sends its power-on value.
        ([850] * 31, [False] * 31, [JUMP, ("fault", "untrusted")]),
        # A sensor that fails, with a sign error like that of a DHT22, and then works.
        ([65526, -32745, COOL], [False] * 3, [("fault", "out_of_range"), ("ok", None)]),
    ],
)
async def test_readings_are_judged_as_by_a_single_process(site, clock, temps, cool, expected):
    for _ in range(3):
        await site.start()
    await play(site, clock, [COOL] * 9)
    await site.events()

    assert await play(site, clock, temps) == cool

    events = await site.events()
    zones = [(one["trust"]["state"], one["trust"]["reason"]) for one in of(events, "zone")]
    assert zones == expected
    rows = of(events, "telemetry")
    assert len(rows) == len(temps)
    trusts = [row["trust"]["state"] if "trust" in row else "ok" for row in rows]
    assert trusts[0] == expected[0][0]
    assert trusts[-1] == expected[-1][0]


async def test_two_devices_with_one_name_are_reported_as_two_sources(site, clock):
    for _ in range(3):
        await site.start()
    await play(site, clock, [COOL] * 9)
    await site.events()
    for number in range(8):
        clock.advance(1)
        address, temp = (("10.0.0.1", COOL), ("10.0.0.2", 450))[number % 2]
        command = await site.processes[number % 3].post(temp, address=address)
        assert not command.cool_active
    zones = [one["trust"]["reason"] for one in of(await site.events(), "zone")]
    assert zones == ["jump", None, "two_sources"]
