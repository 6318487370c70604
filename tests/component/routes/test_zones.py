"""/api/zones: the list, and the names that operators give; a refused change changes nothing."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import pytest

from tests.support.http import Caller, audited, exchange, logged_in, reading
from tests.support.serving import ask, serving
from tests.support.stream import eventually

# Names that devices may have and paths usually have no place for.
AWKWARD = [
    *("/", "//x", "a/b", "a//b", "/a/", ".", "..", "a/../b", "%2F", "a%", "%252F", "zones.csv"),
    *("ü/😀", "a b?c#d&e", "a;b", "\\", "a_b", "+", "\u2028", "x" * 128),
]


@pytest.fixture
async def operator(container):
    return await logged_in(container, "operator")


async def seen(container, *device_ids):
    for device_id in device_ids:
        answer = await Caller(container.app).post(
            "/api/sensor_data", reading(250, device_id=device_id)
        )
        assert answer.status == 200, answer.body


async def patch(caller, device_id, body):
    return await caller.open("PATCH", f"/api/zones/{device_id}", json=body)


async def listed(caller, query=""):
    answer = await caller.get(f"/api/zones{query}")
    assert answer.status == 200, answer.body
    return answer.json()


async def frame_after(container, query, change):
    """The event that a stream gets after this change, as text."""
    caller = await logged_in(container, "reader")
    headers = [(b"x-session-id", caller.session.encode())]
    opening = exchange(
        container.app, path="/api/sse/telemetry", query=query, headers=headers, frames=4
    )
    stream = asyncio.create_task(opening)
    await eventually(lambda: container.sse.hub.subscriber_count() == 1, "the stream")
    await change
    return (await stream).body.decode().split("\n\n")[3]


async def test_a_zone_is_named_audited_listed_and_its_version_counts(container, operator, clock):
    await seen(container, "lab")
    first = await patch(operator, "lab", {"name": " Laboratory ", "location": "Ground floor"})
    assert first.status == 200, first.body
    assert first.json() == {
        "device_id": "lab",
        "name": "Laboratory",
        "location": "Ground floor",
        "high_tenths": None,
        "low_tenths": None,
        "version": 1,
        "updated_at": clock.now_ms(),
        "updated_by": "operator",
    }
    second = await patch(operator, "lab", {"name": None, "version": 1})
    assert (second.json()["name"], second.json()["version"]) == (None, 2)
    assert (await operator.get("/api/zones/lab")).json() == second.json()
    assert await listed(operator) == {
        "zones": [
            {
                "device_id": "lab",
                "name": None,
                "location": "Ground floor",
                "high_tenths": None,
                "low_tenths": None,
                "version": 2,
                "has_key": False,
                "received": clock.now_ms(),
                "trust_state": "ok",
            }
        ],
        "next": None,
    }
    entries = await audited(container, "ZONE_SETTINGS_CHANGE")
    oldest, newest = sorted(entries, key=lambda one: one.details["version"])
    assert oldest.details == {
        "device_id": "lab",
        "version": 1,
        "name": "Laboratory",
        "old_name": "",
        "location": "Ground floor",
        "old_location": "",
    }
    assert newest.details == {
        "device_id": "lab",
        "version": 2,
        "name": "",
        "old_name": "Laboratory",
    }


async def test_a_zone_has_thresholds_of_its_own_until_they_are_taken_away(container, operator):
    await seen(container, "lab")
    first = await patch(operator, "lab", {"high_tenths": 80, "low_tenths": -20})
    assert (first.json()["high_tenths"], first.json()["low_tenths"]) == (80, -20)
    assert (await listed(operator))["zones"][0]["low_tenths"] == -20
    for wrong in (
        *({"low_tenths": 80}, {"high_tenths": -20}, {"high_tenths": 1251}, {"low_tenths": -551}),
        *({"high_tenths": 8.5}, {"high_tenths": "80"}, {"high_tenths": True}, {"version": 1}),
    ):
        answer = await patch(operator, "lab", wrong)
        assert answer.status == 400, wrong
        assert answer.json()["code"] in ("INVALID_FIELD", "NOTHING_TO_CHANGE")
    change = patch(operator, "lab", {"high_tenths": None})
    frame = await frame_after(container, b"snapshot=0", change)
    assert '"high_tenths":null,"low_tenths":-20,"version":2' in frame
    entries = await audited(container, "ZONE_SETTINGS_CHANGE")
    # Both are of the same millisecond, so their order says nothing.
    (second,) = (one.details for one in entries if one.details["version"] == 2)
    assert second == {
        "device_id": "lab",
        "version": 2,
        "high_tenths": None,
        "old_high_tenths": 80,
    }


async def test_a_stale_version_gets_409_with_the_present_document_and_changes_nothing(
    container, operator
):
    await seen(container, "lab")
    present = (await patch(operator, "lab", {"name": "Lab"})).json()
    answer = await patch(operator, "lab", {"name": "Other", "version": 0})
    assert (answer.status, answer.json()["code"]) == (409, "STALE_VERSION")
    assert answer.json()["zone"] == present
    assert (await operator.get("/api/zones/lab")).json() == present
    assert len(await audited(container, "ZONE_SETTINGS_CHANGE")) == 1


async def test_the_same_texts_again_change_nothing_not_even_the_version(container, operator):
    await seen(container, "lab")
    first = await patch(operator, "lab", {"name": "Lab", "location": ""})
    again = await patch(operator, "lab", {"name": "Lab", "location": None})
    assert again.json() == first.json()
    assert len(await audited(container, "ZONE_SETTINGS_CHANGE")) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "NOTHING_TO_CHANGE"),
        ({"version": 0}, "NOTHING_TO_CHANGE"),
        ({"nam": "x"}, "NOTHING_TO_CHANGE"),
        ({"name": "x" * 81}, "INVALID_FIELD"),
        ({"name": "a\nb"}, "INVALID_FIELD"),
        ({"name": "a\n"}, "INVALID_FIELD"),
        ({"location": "a\x7f"}, "INVALID_FIELD"),
        ({"location": "a\x85"}, "INVALID_FIELD"),
        ({"location": "a\u2028b"}, "INVALID_FIELD"),
        ({"name": 5}, "INVALID_FIELD"),
        ({"name": "a", "version": "1"}, "INVALID_FIELD"),
        ({"name": "a", "version": -1}, "INVALID_FIELD"),
    ],
)
async def test_a_wrong_body_is_refused_and_changes_nothing(container, operator, body, code):
    await seen(container, "lab")
    answer = await patch(operator, "lab", body)
    assert (answer.status, answer.json()["code"]) == (400, code)
    assert (await operator.get("/api/zones/lab")).json()["version"] == 0


async def test_a_zone_that_does_not_exist_here_is_not_found(container, operator):
    await seen(container, "lab")
    stranger = await logged_in(container, "stranger")
    for caller, device_id in ((operator, "nowhere"), (stranger, "lab")):
        for answer in (
            await patch(caller, device_id, {"name": "x"}),
            await caller.get(f"/api/zones/{device_id}"),
        ):
            assert (answer.status, answer.json()["code"]) == (404, "DEVICE_NOT_FOUND")
    answer = await patch(operator, "x" * 129, {"name": "x"})
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert (await listed(stranger))["zones"] == []


async def test_every_device_id_that_may_post_works_in_the_path(container, operator):
    await seen(container, *AWKWARD)
    head = f"HTTP/1.1\r\nHost: localhost\r\nX-Session-ID: {operator.session}\r\nConnection: close"
    async with serving(container.app, container.posts) as port:
        for number, device_id in enumerate(AWKWARD):
            path = f"/api/zones/{quote(device_id, safe='')}"
            body = json.dumps({"name": f"n{number}"})
            about = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
            (answer,) = await ask(port, f"PATCH {path} {head}\r\n{about}\r\n\r\n{body}".encode())
            assert answer.status == 200, (device_id, answer.body)
            assert answer.json()["device_id"] == device_id
            (answer,) = await ask(port, f"GET {path} {head}\r\n\r\n".encode())
            assert answer.json()["name"] == f"n{number}"
    zones = (await listed(operator))["zones"]
    names = {one["device_id"]: one["name"] for one in zones}
    assert names == {device_id: f"n{number}" for number, device_id in enumerate(AWKWARD)}


async def test_the_list_has_registered_devices_and_all_zones_page_by_page(container, operator):
    await seen(container, *(f"z{number}" for number in range(4)), "z/1", "z_1")
    await container.base.admin.register_device("default", "z2")
    await operator.post("/api/devices/register", {"device_id": "new"})
    everything = (await listed(operator))["zones"]
    pages, cursor = [], ""
    while cursor is not None:
        page = await listed(operator, f"?limit=3&start_after={cursor}")
        assert len(page["zones"]) <= 3
        pages += page["zones"]
        cursor = page["next"]
    assert pages == everything
    found = {one["device_id"]: one for one in everything}
    assert len(found) == len(everything) == 7
    assert [name for name, one in found.items() if one["has_key"]] == ["z2"]
    assert (found["new"]["received"], found["new"]["trust_state"]) == (None, "never")
    for query in ("?limit=0", "?limit=1001", "?start_after=x", "?start=5"):
        assert (await operator.get(f"/api/zones{query}")).status == 400


async def test_a_token_limited_to_zones_sees_and_names_only_these(container, operator):
    await seen(container, "lab", "shed")
    admin = await logged_in(container, "admin")
    body = {"name": "t", "role": "operator", "zones": ["shed", "none"]}
    secret = (await admin.post("/api/tokens", body)).json()["secret"]
    caller = Caller(container.app, headers={"Authorization": f"Bearer {secret}"})
    assert [one["device_id"] for one in (await listed(caller))["zones"]] == ["shed"]
    assert (await patch(caller, "shed", {"name": "Shed"})).status == 200
    answer = await patch(caller, "lab", {"name": "Lab"})
    assert (answer.status, answer.json()["code"]) == (403, "ZONE_ACCESS_DENIED")


async def test_names_stay_when_the_device_is_deleted_and_comes_back(container, operator):
    await seen(container, "lab")
    await patch(operator, "lab", {"name": "Lab"})
    await container.base.admin.register_device("default", "lab")
    admin = await logged_in(container, "admin")
    assert (await admin.post("/api/devices/delete", {"device_id": "lab"})).status == 200
    assert (await listed(operator))["zones"] == []
    await admin.post("/api/devices/register", {"device_id": "lab"})
    assert [one["name"] for one in (await listed(operator))["zones"]] == ["Lab"]


async def test_a_change_is_an_event_of_the_stream_but_not_for_pages_without_names(
    container, operator, clock
):
    await seen(container, "lab")
    change = patch(operator, "lab", {"name": "Lab"})
    frame = await frame_after(container, b"snapshot=0", change)
    lines = dict(line.split(": ", 1) for line in frame.splitlines())
    assert (lines["event"], json.loads(lines["data"])) == (
        "settings",
        {
            "device_id": "lab",
            "name": "Lab",
            "location": None,
            "high_tenths": None,
            "low_tenths": None,
            "version": 1,
            "timestamp": clock.now_ms(),
        },
    )
    change = patch(operator, "lab", {"name": "Other"})
    assert await frame_after(container, b"snapshot=0&names=0", change) == ":"


async def test_an_admin_deletes_a_zone_and_its_readings_and_learns_the_last_command(
    container, operator
):
    await seen(container, "a/b", "lab")
    admin = await logged_in(container, "admin")
    answer = await admin.open("DELETE", "/api/zones/a%2Fb?history=true")
    assert (answer.status, answer.json()) == (
        200,
        {
            "success": True,
            "device_id": "a/b",
            "commanded": {"cool_active": True, "heat_active": True, "relays_known": True},
            "readings_deleted": 1,
            "history_left": False,
        },
    )
    assert [one["device_id"] for one in (await listed(admin))["zones"]] == ["lab"]
    assert [row["device_id"] for row in (await admin.get("/api/telemetry")).json()] == ["lab"]
    for caller, query, status in (
        (operator, "", 403),
        (admin, "", 404),
        (admin, "?history=yes", 400),
        (admin, "?histroy=true", 400),
    ):
        path = f"/api/zones/{'lab' if status != 404 else 'a%2Fb'}{query}"
        assert (await caller.open("DELETE", path)).status == status
