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
    """Post readings of these temperatures, one second apart."""

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


async def test_readings_come_newest_first(reader, post):
    await post(1, 2, 3)
    assert await temps(reader, T) == [3, 2, 1]


async def test_the_newest_hundred_come_unless_a_limit_is_given(reader, post):
    await post(*range(105))
    assert await temps(reader, T) == list(range(104, 4, -1))
    assert await temps(reader, f"{T}?limit=2") == [104, 103]
    assert len(await temps(reader, f"{T}?limit=1000")) == 105


async def test_device_id_filters_and_its_empty_text_does_not(reader, post):
    await post(1, 2, device_id="one")
    await post(3, device_id="two")
    assert await temps(reader, f"{T}?device_id=one") == [2, 1]
    assert await temps(reader, f"{T}?device_id=") == [3, 2, 1]
    assert await temps(reader, f"{T}?device_id=nowhere") == []


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1.5", "NaN", "9" * 30])
async def test_a_limit_out_of_1_to_1000_is_refused(reader, limit):
    answer = await reader.get(f"{T}?limit={limit}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert "limit" in answer.json()["message"]


@pytest.mark.parametrize("path", ["window", "paginated"])
@pytest.mark.parametrize("limit", ["0", "-1", "10001", "x"])
async def test_a_limit_of_a_window_or_page_out_of_1_to_10000_is_refused(reader, path, limit):
    answer = await reader.get(f"{T}/{path}?limit={limit}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert "limit" in answer.json()["message"]


@pytest.mark.parametrize("path", ["window", "paginated"])
async def test_a_window_or_page_may_hold_10000(reader, path):
    assert (await reader.get(f"{T}/{path}?limit=10000")).status == 200


async def test_a_window_holds_both_its_ends_and_nothing_outside(reader, post, clock):
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


async def test_a_window_is_of_one_device_if_it_is_named_and_of_its_newest(reader, post):
    await post(1, 2, 3, device_id="one")
    await post(4, device_id="two")
    assert await temps(reader, f"{T}/window?device_id=one&limit=2") == [3, 2]


@pytest.mark.parametrize("query", ["start=x", "end=-1", "start=1.5", "end=NaN", "start=5&end=4"])
async def test_a_window_that_is_none_is_refused(reader, query):
    answer = await reader.get(f"{T}/window?{query}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")


async def test_pages_hold_every_reading_once_in_order(reader, post):
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


async def test_readings_of_the_same_moment_are_all_paged(reader, container):
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


async def test_a_page_goes_on_where_the_last_one_ended_though_readings_came_between(reader, post):
    await post(1, 2, 3)
    page = (await reader.get(f"{T}/paginated?limit=2")).json()
    await post(4)
    rest = (await reader.get(f"{T}/paginated?start_after={page['last_doc_id']}")).json()
    assert [row["temp_tenths"] for row in rest["data"]] == [1]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "W10", "%00", "%F0%9F%98%80", "a" * 1025])
async def test_a_cursor_that_is_none_is_refused(reader, cursor):
    answer = await reader.get(f"{T}/paginated?start_after={cursor}")
    assert answer.status == 400
    assert answer.json()["error"]
    assert answer.json()["code"] in {"INVALID_CURSOR", "INVALID_FIELD"}


async def test_a_cursor_shows_nobody_another_tenants_readings(container, reader, post):
    await post(1, 2, 3)
    page = (await reader.get(f"{T}/paginated?limit=1")).json()
    stranger = await logged_in(container, "stranger")
    theirs = await stranger.get(f"{T}/paginated?start_after={page['last_doc_id']}")
    assert (theirs.status, theirs.json()["data"]) == (200, [])


async def test_statistics_tell_the_figures_of_good_readings(reader, post):
    await post(200, 240, 250)
    await post(1250, sensor_ok=False)
    assert (await reader.get(f"{T}/statistics")).json() == {
        "total_records": 4,
        "avg_temperature": 230,
        "min_temperature": 200,
        "max_temperature": 250,
        "sensor_failures": 1,
        "uptime_percentage": 75.0,
    }


async def test_statistics_reach_back_as_many_hours_as_asked_and_a_day_by_default(
    container, post, clock
):
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


async def test_statistics_are_of_one_device_if_it_is_named(reader, post):
    await post(200, device_id="one")
    await post(250, 260, device_id="two")
    figures = (await reader.get(f"{T}/statistics?device_id=two")).json()
    assert (figures["total_records"], figures["min_temperature"]) == (2, 250)


@pytest.mark.parametrize("hours", ["0", "-1", "8785", "x", "1.5", "NaN"])
async def test_hours_out_of_range_are_refused(reader, hours):
    answer = await reader.get(f"{T}/statistics?hours={hours}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")


@pytest.mark.parametrize("path", ["", "/window", "/paginated", "/statistics"])
async def test_a_device_id_of_too_many_characters_is_refused(reader, path):
    answer = await reader.get(f"{T}{path}?device_id={'x' * 129}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
