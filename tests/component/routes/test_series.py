"""GET /api/telemetry/series."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, logged_in, reading

SERIES = "/api/telemetry/series"
SECOND, HOUR, DAY = 1000, 3_600_000, 86_400_000


@pytest.fixture
async def reader(container):
    return await logged_in(container, "reader")


@pytest.fixture
def post(container, clock):
    """Posts readings of these temperatures, ten seconds apart."""

    async def post(*temps, device_id="lab", **more):
        device = Caller(container.app)
        for temp in temps:
            body = reading(temp, device_id=device_id, **more)
            assert (await device.post("/api/sensor_data", body)).status == 200
            clock.advance(10)

    return post


async def packed(container):
    """Packs what is stored, after which it is read from blocks and sums."""
    async for _ in container.base.compaction.pack(0):
        pass


async def test_a_series_has_a_point_for_each_bucket(reader, post, clock):
    start = clock.now_ms()
    await post(200, 210, 300, 300)
    await post(1250, sensor_ok=False)
    end = clock.now_ms()
    answer = await reader.get(f"{SERIES}?device_id=lab&start={start}&end={end + 10_000}&points=3")
    body = answer.json()
    points = body.pop("points")
    assert body == {"device_id": "lab", "start": start, "end": end + 10_000, "step_ms": 20_000}
    assert points == [
        {
            "t": start,
            "count": 2,
            "min": 200,
            "mean": 205.0,
            "max": 210,
            "cool": 0.0,
            "heat": 1.0,
            "faults": 0,
            "starts": 1,
        },
        {
            "t": start + 20_000,
            "count": 2,
            "min": 300,
            "mean": 300.0,
            "max": 300,
            "cool": 1.0,
            "heat": 1.0,
            "faults": 0,
            "starts": 1,
        },
        {
            "t": start + 40_000,
            "count": 1,
            "min": None,
            "mean": None,
            "max": None,
            "cool": 0.0,
            "heat": 0.0,
            "faults": 1,
            "starts": 0,
        },
    ]


async def test_a_bucket_without_readings_is_a_gap_of_nulls(reader, post, clock):
    start = clock.now_ms()
    await post(200)
    query = f"device_id=lab&start={start}&end={start + 3 * HOUR}&points=3"
    points = (await reader.get(f"{SERIES}?{query}")).json()["points"]
    assert [point["count"] for point in points] == [1, 0, 0]
    for name in ("min", "mean", "max", "cool", "heat"):
        assert [point[name] for point in points[1:]] == [None, None]


async def test_a_series_is_of_the_last_day_unless_it_has_a_start_and_an_end(reader, post, clock):
    await post(200)
    now = clock.now_ms()
    body = (await reader.get(f"{SERIES}?device_id=lab")).json()
    assert (body["start"], body["end"], body["step_ms"]) == (now - DAY, now, DAY // 300)
    assert sum(point["count"] for point in body["points"]) == 1
    assert len(body["points"]) == 300
    body = (await reader.get(f"{SERIES}?device_id=lab&end={now - DAY}")).json()
    assert (body["start"], body["end"]) == (now - 2 * DAY, now - DAY)


async def test_a_series_of_more_than_a_week_has_steps_of_whole_hours(container, post, clock):
    clock.advance(17.3)
    began = clock.now_ms()
    await post(*range(200, 205))
    clock.advance(4 * 3600)
    await packed(container)
    await post(300)
    reader = await logged_in(container, "reader")
    start, end = began - 30 * DAY, clock.now_ms()
    for points, hours in ((2000, 1), (100, 8)):
        query = f"device_id=lab&start={start}&end={end}&points={points}"
        body = (await reader.get(f"{SERIES}?{query}")).json()
        assert body["step_ms"] == hours * HOUR
        assert (body["start"], body["end"]) == (
            start // HOUR * HOUR,
            -(-end // HOUR) * HOUR,
        )
        assert [point["t"] for point in body["points"][:2]] == [
            body["start"],
            body["start"] + hours * HOUR,
        ]
        assert 1 <= len(body["points"]) <= points
        assert [point["count"] for point in body["points"] if point["count"]] in ([5, 1], [6])


async def test_several_devices_have_an_array_of_series_in_the_order_of_the_query(reader, post):
    await post(1, device_id="one")
    await post(2, device_id="two")
    query = "device_id=two&device_id=one&device_id=none&points=1"
    found = (await reader.get(f"{SERIES}?{query}")).json()
    assert [one["device_id"] for one in found] == ["two", "one", "none"]
    assert [one["points"][0]["max"] for one in found] == [2, 1, None]


async def test_a_series_has_no_readings_of_another_tenant(container, post):
    await post(200)
    stranger = await logged_in(container, "stranger")
    (point,) = (await stranger.get(f"{SERIES}?device_id=lab&points=1")).json()["points"]
    assert point["count"] == 0


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "device_id"),
        ("device_id=", "device_id"),
        ("&".join(["device_id=x"] * 21), "device_id"),
        ("device_id=x&device_id=" + "y" * 129, "device_id"),
        ("device_id=x&points=0", "points"),
        ("device_id=x&points=2001", "points"),
        ("device_id=x&points=1.5", "points"),
        ("device_id=x&start=-1", "start"),
        ("device_id=x&end=x", "end"),
        ("device_id=x&start=5&end=5", "start"),
        ("device_id=x&start=6&end=5", "start"),
    ],
)
async def test_an_invalid_series_is_refused(reader, query, field):
    answer = await reader.get(f"{SERIES}?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert field in answer.json()["message"]


async def test_a_series_of_all_times_ends_soon_and_has_every_reading(reader, post):
    await post(200, 201)
    for end in (2**53 - 1, ""):
        query = f"device_id=lab&start=0{end and f'&end={end}'}&points=2000"
        body = (await reader.get(f"{SERIES}?{query}")).json()
        assert sum(point["count"] for point in body["points"]) == 2
        assert len(body["points"]) <= 2000


async def test_a_series_needs_a_session(container):
    answer = await Caller(container.app).get(f"{SERIES}?device_id=lab")
    assert answer.status == 401


async def test_the_setpoints_of_a_span_begin_with_the_one_in_force_and_have_each_change(
    reader, container, post, clock
):
    operator = await logged_in(container, "operator")
    await post(200)
    start = clock.now_ms()
    await post(200)
    body = {"setpoint_tenths": 215, "deadband_tenths": 5, "device_id": "lab"}
    assert (await operator.post("/api/set_setpoint", body)).status == 200
    changed = clock.now_ms()
    await post(200, 210)
    await packed(container)

    asked = f"/api/telemetry/setpoints?device_id=lab&start={start - 5000}&end={changed + 5000}"
    answer = await reader.get(asked)

    assert answer.json() == {
        "device_id": "lab",
        "changes": [
            {"t": start - 5000, "setpoint_tenths": 230, "deadband_tenths": 10},
            {"t": changed, "setpoint_tenths": 215, "deadband_tenths": 5},
        ],
    }
    empty = await reader.get("/api/telemetry/setpoints?device_id=no-such-zone")
    assert empty.json() == {"device_id": "no-such-zone", "changes": []}
    for wrong in ("", "?device_id=lab&start=9&end=5", "?device_id=lab&start=x"):
        assert (await reader.get(f"/api/telemetry/setpoints{wrong}")).status == 400
