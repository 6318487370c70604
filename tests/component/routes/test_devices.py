"""POST /api/devices/register and GET /api/devices."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.http import Caller, audited, logged_in, reading

REGISTER = "/api/devices/register"


@pytest.fixture
async def operator(container):
    return await logged_in(container, "operator")


async def test_a_registered_device_is_returned_and_listed(operator, clock):
    body = {"device_id": "lab", "metadata": {"room": "2.17", "floor": 2, "hot": None, "x": 1.5}}
    device = {
        "device_id": "lab",
        "tenant_id": "default",
        "metadata": body["metadata"],
        "created_at": clock.now_ms(),
        "has_key": False,
    }
    answer = await operator.post(REGISTER, body)
    assert (answer.status, answer.json()) == (200, {"success": True, "device": device})
    (listed,) = (await operator.get("/api/devices")).json()
    assert {name: listed[name] for name in device} == device
    of_relays = {"cool_hours", "heat_hours", "cool_starts", "heat_starts"}
    of_keys = {"key_used_at", "old_key_until", "key_revoked"}
    of_posts = {"registered": True, "status": "active", "last_seen": None}
    assert of_posts.items() <= listed.items()
    assert set(listed) - set(device) == of_relays | of_keys | set(of_posts)


async def test_devices_that_post_are_listed_registered_or_not(container, operator, clock):
    await operator.post(REGISTER, {"device_id": "lab"})
    device = Caller(container.app)
    for name in ("attic", "lab"):
        await device.post("/api/sensor_data", reading(230, device_id=name))
    await operator.post("/api/set_setpoint", {"setpoint_tenths": 215, "device_id": "never-posted"})
    seen, created = clock.now_ms(), clock.now_ms()
    clock.advance(60)
    listed = (await operator.get("/api/devices")).json()
    about = [
        (one["device_id"], one["registered"], one["last_seen"], one["created_at"], one["has_key"])
        for one in listed
    ]
    assert about == [("attic", False, seen, 0, False), ("lab", True, seen, created, False)]
    assert (await (await logged_in(container, "stranger")).get("/api/devices")).json() == []


@pytest.mark.sqlite_only("Firestore has no sums over time")
async def test_the_list_says_how_long_and_how_often_the_relays_were_on(container, operator, clock):
    await operator.post(REGISTER, {"device_id": "lab"})
    device = Caller(container.app)
    # 18 readings of 40 s: cold for 6, hot for 12. The heat relay is always on.
    for n in range(18):
        await device.post("/api/sensor_data", reading(300 if n >= 6 else 200, device_id="lab"))
        clock.advance(40)
    (listed,) = (await operator.get("/api/devices")).json()
    use = {name: listed[name] for name in ("cool_hours", "heat_hours", "cool_starts")}
    assert use == {"cool_hours": 0.13, "heat_hours": 0.2, "cool_starts": 1}
    assert listed["heat_starts"] == 1


async def test_metadata_may_be_left_out(operator):
    answer = await operator.post(REGISTER, {"device_id": "lab"})
    assert answer.json()["device"]["metadata"] == {}


async def test_the_list_of_devices_is_empty_before_any_registration(operator):
    answer = await operator.get("/api/devices")
    assert (answer.status, answer.json()) == (200, [])


async def test_a_second_registration_replaces_the_metadata_of_the_same_device(operator, clock):
    created = clock.now_ms()
    await operator.post(REGISTER, {"device_id": "lab", "metadata": {"room": "1"}})
    clock.advance(60)
    await operator.post(REGISTER, {"device_id": "lab", "metadata": {"room": "2"}})
    (device,) = (await operator.get("/api/devices")).json()
    assert (device["metadata"], device["created_at"]) == ({"room": "2"}, created)


async def test_a_second_registration_keeps_the_device_s_key(container, operator):
    await container.base.admin.register_device("default", "lab")
    answer = await operator.post(REGISTER, {"device_id": "lab", "metadata": {}})
    assert answer.json()["device"]["has_key"] is True


async def test_devices_are_listed_in_the_order_of_their_ids(operator):
    for device_id in ("b", "a", "c"):
        await operator.post(REGISTER, {"device_id": device_id})
    listed = [device["device_id"] for device in (await operator.get("/api/devices")).json()]
    assert listed == ["a", "b", "c"]


async def test_names_that_contain_the_separator_are_different_devices(container, operator):
    # Tenant `a_b` with device `c` once shared a document with tenant `a` and device `b_c`.
    await container.base.admin.create_user("ab", "correct horse", "operator", "a_b")
    await container.base.admin.create_user("a", "correct horse", "operator", "a")
    for name, device_id in (("ab", "c"), ("a", "b_c")):
        caller = await logged_in(container, name)
        await caller.post(REGISTER, {"device_id": device_id, "metadata": {"by": name}})
        (device,) = (await caller.get("/api/devices")).json()
        assert (device["device_id"], device["metadata"]) == (device_id, {"by": name})


async def test_many_simultaneous_registrations_of_one_device_make_one_device(operator):
    answers = await asyncio.gather(
        *(operator.post(REGISTER, {"device_id": "lab", "metadata": {"n": n}}) for n in range(10))
    )
    assert {answer.status for answer in answers} <= {200, 409}
    assert len((await operator.get("/api/devices")).json()) == 1


async def test_a_registration_is_audited_with_its_device(container, operator):
    await operator.post(REGISTER, {"device_id": "lab"})
    (entry,) = await audited(container, "DEVICE_REGISTERED")
    assert (entry.username, entry.details) == ("operator", {"device_id": "lab"})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "device_id"),
        ({"metadata": {}}, "device_id"),
        ({"device_id": ""}, "device_id"),
        ({"device_id": "x" * 129}, "device_id"),
        ({"device_id": "a\x00"}, "device_id"),
        ({"device_id": 1}, "device_id"),
        ({"device_id": None}, "device_id"),
        ({"device_id": "lab", "metadata": []}, "metadata"),
        ({"device_id": "lab", "metadata": None}, "metadata"),
        ({"device_id": "lab", "metadata": {"a": {"b": 1}}}, "metadata"),
        ({"device_id": "lab", "metadata": {"a": [1]}}, "metadata"),
        ({"device_id": "lab", "metadata": {"": 1}}, "metadata"),
        ({"device_id": "lab", "metadata": {"a": "x" * 1025}}, "metadata"),
        ({"device_id": "lab", "metadata": {"a": 2**53}}, "metadata"),
        ({"device_id": "lab", "metadata": {str(n): n for n in range(33)}}, "metadata"),
    ],
)
async def test_an_invalid_registration_is_refused_with_its_field_and_not_stored(
    operator, body, field
):
    answer = await operator.post(REGISTER, body)
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert field in answer.json()["message"]
    assert (await operator.get("/api/devices")).json() == []


@pytest.mark.parametrize("key", ["\x00", "a\nb", '"', "\\", "ü", "a.b", "$", "__proto__"])
async def test_any_metadata_key_is_returned_as_it_was_sent(operator, key):
    await operator.post(REGISTER, {"device_id": "lab", "metadata": {key: "value"}})
    (device,) = (await operator.get("/api/devices")).json()
    assert device["metadata"] == {key: "value"}
