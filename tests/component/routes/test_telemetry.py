"""GET /api/telemetry and its window, pages and statistics."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, logged_in, reading

T = "/api/telemetry"


@pytest.fixture
async def reader(container):
    return await logged_in(container, "reader")


@pytest.fixture
def post(container, clock):
    """Posts readings of these temperatures, one second apart."""

    async def post(*temps, device_id="lab", **more):
        device = Caller(container.app)
        for temp in temps:
            body = reading(temp, device_id=device_id, **more)
            assert (await device.post("/api/sensor_data", body)).status == 200
            clock.advance(1)

    return post


async def temps(caller, path):
    answer = await caller.get(path)
    assert answer.status == 200, answer.body
    return [row["temp_tenths"] for row in answer.json()]


async def test_without_readings_the_answer_is_an_empty_array(reader):
    for path in (T, f"{T}/window"):
        answer = await reader.get(path)
        assert (answer.status, answer.json()) == (200, [])


async def test_a_row_has_the_keys_and_values_of_its_reading(reader, post, clock):
    began = clock.now_ms()
    await post(250)
    assert (await reader.get(T)).json() == [
        {
            "timestamp": began,
            "temp_tenths": 250,
            "setpoint_tenths": 230,
            "deadband_tenths": 10,
            "cool_active": True,
            "heat_active": True,
            "state": "COOLING_WITH_LEDS",
            "sensor_ok": True,
            "device_id": "lab",
        }
    ]


async def test_readings_are_listed_newest_first(reader, post):
    await post(1, 2, 3)
    assert await temps(reader, T) == [3, 2, 1]


async def test_the_newest_hundred_readings_are_listed_unless_a_limit_is_given(reader, post):
    await post(*range(105))
    assert await temps(reader, T) == list(range(104, 4, -1))
    assert await temps(reader, f"{T}?limit=2") == [104, 103]
    assert len(await temps(reader, f"{T}?limit=1000")) == 105


async def test_device_id_filters_readings_and_an_empty_one_does_not(reader, post):
    await post(1, 2, device_id="one")
    await post(3, device_id="two")
    assert await temps(reader, f"{T}?device_id=one") == [2, 1]
    assert await temps(reader, f"{T}?device_id=") == [3, 2, 1]
    assert await temps(reader, f"{T}?device_id=nowhere") == []


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5", "NaN", "9" * 30])
async def test_a_limit_outside_of_1_to_1000_is_refused(reader, limit):
    answer = await reader.get(f"{T}?limit={limit}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert "limit" in answer.json()["message"]


@pytest.mark.parametrize("path", ["window", "paginated"])
@pytest.mark.parametrize("limit", ["0", "-1", "10001", "x"])
async def test_a_limit_of_a_window_or_page_outside_of_1_to_10000_is_refused(reader, path, limit):
    answer = await reader.get(f"{T}/{path}?limit={limit}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert "limit" in answer.json()["message"]


@pytest.mark.parametrize("path", ["window", "paginated"])
async def test_a_window_or_page_may_have_10000_readings(reader, path):
    assert (await reader.get(f"{T}/{path}?limit=10000")).status == 200


async def test_a_window_includes_both_its_ends_and_nothing_outside(reader, post, clock):
    began = clock.now_ms()
    await post(0, 1, 2, 3, 4)
    path = f"{T}/window?start={began + 1000}&end={began + 3000}"
    assert await temps(reader, path) == [3, 2, 1]


async def test_a_window_may_be_open_at_either_end(reader, post, clock):
    began = clock.now_ms()
    await post(0, 1, 2)
    assert await temps(reader, f"{T}/window?start={began + 1000}") == [2, 1]
    assert await temps(reader, f"{T}/window?end={began + 1000}") == [1, 0]
    assert await temps(reader, f"{T}/window") == [2, 1, 0]


async def test_a_window_with_device_id_contains_the_newest_readings_of_that_device(reader, post):
    await post(1, 2, 3, device_id="one")
    await post(4, device_id="two")
    assert await temps(reader, f"{T}/window?device_id=one&limit=2") == [3, 2]


@pytest.mark.parametrize("query", ["start=x", "end=-1", "start=1.5", "end=NaN", "start=5&end=4"])
async def test_an_invalid_window_is_refused(reader, query):
    answer = await reader.get(f"{T}/window?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")


async def test_pages_contain_every_reading_once_in_order(reader, post):
    await post(*range(7))
    seen, cursor = [], ""
    for _ in range(4):
        page = (await reader.get(f"{T}/paginated?limit=3&start_after={cursor}")).json()
        assert set(page) == {"data", "last_doc_id", "has_more"}
        seen.append([row["temp_tenths"] for row in page["data"]])
        cursor = page["last_doc_id"]
        if not page["has_more"]:
            break
    assert seen == [[6, 5, 4], [3, 2, 1], [0]]


async def test_the_last_page_says_that_there_is_no_more(reader, post):
    await post(1, 2)
    page = (await reader.get(f"{T}/paginated?limit=2")).json()
    assert page["has_more"] is False
    assert len(page["data"]) == 2


async def test_pages_contain_all_readings_of_the_same_millisecond(reader, container):
    device = Caller(container.app)
    for temp in range(5):
        await device.post("/api/sensor_data", reading(temp))
    seen, query = set(), ""
    for _ in range(3):
        page = (await reader.get(f"{T}/paginated?limit=2{query}")).json()
        seen |= {row["temp_tenths"] for row in page["data"]}
        query = f"&start_after={page['last_doc_id']}"
    assert seen == set(range(5))
    assert page["has_more"] is False


async def test_a_page_continues_after_the_last_one_even_if_new_readings_arrived(reader, post):
    await post(1, 2, 3)
    page = (await reader.get(f"{T}/paginated?limit=2")).json()
    await post(4)
    rest = (await reader.get(f"{T}/paginated?start_after={page['last_doc_id']}")).json()
    assert [row["temp_tenths"] for row in rest["data"]] == [1]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "W10", "%00", "%F0%9F%98%80", "a" * 1025])
async def test_an_invalid_cursor_is_refused(reader, cursor):
    answer = await reader.get(f"{T}/paginated?start_after={cursor}")
    assert answer.status == 400
    assert answer.json()["error"]
    assert answer.json()["code"] in {"INVALID_CURSOR", "INVALID_FIELD"}


async def test_a_cursor_does_not_give_access_to_another_tenant_s_readings(container, reader, post):
    await post(1, 2, 3)
    page = (await reader.get(f"{T}/paginated?limit=1")).json()
    stranger = await logged_in(container, "stranger")
    theirs = await stranger.get(f"{T}/paginated?start_after={page['last_doc_id']}")
    assert (theirs.status, theirs.json()["data"]) == (200, [])


async def test_statistics_summarise_the_good_readings(reader, post):
    await post(200, 240, 250)
    await post(1250, sensor_ok=False)
    figures = (await reader.get(f"{T}/statistics")).json()
    assert {name: figures[name] for name in list(figures)[:6]} == {
        "total_records": 4,
        "avg_temperature": 230,
        "min_temperature": 200,
        "max_temperature": 250,
        "sensor_failures": 1,
        "uptime_percentage": 75.0,
    }


async def test_statistics_cover_the_requested_hours_and_a_day_by_default(container, post, clock):
    async def records(query):
        reader = await logged_in(container, "reader")
        return (await reader.get(f"{T}/statistics{query}")).json()["total_records"]

    await post(200)
    clock.advance(3 * 3600)
    await post(250)
    assert await records("") == 2
    assert await records("?hours=2") == 1
    clock.advance(22 * 3600)
    assert await records("") == 1


@pytest.mark.sqlite_only("Firestore has no sums over time")
async def test_statistics_weigh_readings_by_time_and_count_silence(container, post, clock):
    await post(200)
    clock.advance(29)
    await post(300, 300)
    clock.advance(3600 - 32)
    reader = await logged_in(container, "reader")
    figures = (await reader.get(f"{T}/statistics?hours=1")).json()
    assert {name: figures[name] for name in list(figures)[6:]} == {
        # 30 s at 20 °C, 1 s at 30 °C, and 60 s for which the last reading holds.
        "avg_temperature_by_time": round((30 * 200 + 61 * 300) / 91, 2),
        "uptime_percentage_by_time": round(100 * 91 / 3600, 2),
        "cool_hours": round(61 / 3600, 2),
        "heat_hours": round(91 / 3600, 2),
        "cool_starts": 1,
        "heat_starts": 1,
    }
    assert figures["avg_temperature"] == 267
    assert figures["uptime_percentage"] == 100.0


@pytest.mark.sqlite_only("Firestore has no sums over time")
async def test_the_uptime_of_several_devices_is_their_mean(container, post, clock):
    await post(200, device_id="gone")
    clock.advance(7200)
    for _ in range(30):
        await post(200, device_id="here")
        clock.advance(119)
    reader = await logged_in(container, "reader")
    figures = (await reader.get(f"{T}/statistics?hours=1")).json()
    # "here" holds for the whole hour, but for its first minute.
    assert figures["uptime_percentage_by_time"] == pytest.approx(50, abs=2)
    assert figures["uptime_percentage"] == 100.0


async def test_statistics_may_have_a_start_and_an_end(reader, post, clock):
    began = clock.now_ms()
    await post(1, 2, 3, 4)

    async def extremes(query):
        figures = (await reader.get(f"{T}/statistics?{query}")).json()
        return figures["min_temperature"], figures["max_temperature"]

    assert await extremes(f"start={began + 1000}&end={began + 2000}") == (2, 3)
    assert await extremes(f"start={began + 1000}") == (2, 4)
    assert await extremes(f"hours=1&end={began + 1000}") == (1, 2)
    refused = await reader.get(f"{T}/statistics?start=5&end=4")
    assert (refused.status, refused.json()["code"]) == (400, "INVALID_FIELD")


async def test_a_window_says_whether_there_are_more_readings(reader, post):
    await post(1, 2, 3)
    for limit, more in ((2, "true"), (3, "false")):
        answer = await reader.get(f"{T}/window?limit={limit}")
        assert answer.headers["X-Has-More"] == more


async def test_pages_with_start_and_end_have_the_readings_of_that_time(reader, post, clock):
    began = clock.now_ms()
    await post(0, 1, 2, 3, 4)
    path = f"{T}/paginated?limit=2&start={began + 1000}&end={began + 3000}"
    page = (await reader.get(path)).json()
    assert [row["temp_tenths"] for row in page["data"]] == [3, 2]
    page = (await reader.get(f"{path}&start_after={page['last_doc_id']}")).json()
    assert ([row["temp_tenths"] for row in page["data"]], page["has_more"]) == ([1], False)


@pytest.mark.parametrize("query", ["start=x", "end=-1", "start=5&end=4"])
async def test_a_page_of_an_invalid_time_is_refused(reader, query):
    answer = await reader.get(f"{T}/paginated?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")


async def test_statistics_with_device_id_cover_that_device(reader, post):
    await post(200, device_id="one")
    await post(250, 260, device_id="two")
    figures = (await reader.get(f"{T}/statistics?device_id=two")).json()
    assert (figures["total_records"], figures["min_temperature"]) == (2, 250)


@pytest.mark.parametrize("hours", ["0", "-1", "8785", "x", "1.5", "NaN"])
async def test_hours_out_of_range_are_refused(reader, hours):
    answer = await reader.get(f"{T}/statistics?hours={hours}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")


@pytest.mark.parametrize(
    "path", ["", "/window", "/paginated", "/statistics", "/series", "/export.csv"]
)
async def test_a_device_id_of_too_many_characters_is_refused(reader, path):
    answer = await reader.get(f"{T}{path}?device_id={'x' * 129}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
