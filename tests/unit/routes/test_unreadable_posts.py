"""What cannot be read: a fault of the device whose key comes with it, else nobody's, and refused.

Section 6 of the contract: anything unreadable with a right device key is a fault.
"""

from __future__ import annotations

import pytest

from tests.support.http import served, stored
from tests.support.paths import BATCH, OFF, ON, PATHS, SINGLE, Sender, command, relays
from tests.support.serving import ask, request, serving

pytestmark = pytest.mark.sqlite_only("hundreds of posts, which differ in what is read alone")
HOT = '{"temp_tenths": 300, "sensor_ok": true}'
TOO_LONG = '{"temp_tenths": 300, "sensor_ok": true, "pad": "' + "x" * 256 * 1024 + '"}'
each_path = pytest.mark.parametrize("path", PATHS)


@pytest.fixture
async def key(container):
    return await container.base.admin.register_device("default", "roof")


async def switched_on(container, port, path, key):
    """A keyed device by this path, with both relays on."""
    sender = Sender(container, port, path, key)
    assert relays(await sender.commanded(HOT)) == ON
    return sender


async def fault_of(container):
    """The one stored fault: whose, what was measured, and why."""
    (one,) = [one for one in await stored(container) if not one.sensor_ok]
    return one.device_id, one.temp_tenths, one.fault_reason


async def status_of(sender, code, answer):
    """Refused with this status and code, and not stored."""
    assert (answer.status, answer.json()["code"]) == code
    assert await stored(sender.container) == []


# No rows: they are read where a row of a batch, or a whole single post, is.
UNREADABLE = {
    "cut": '{"temp_tenths": 30',
    "no JSON": "temp=300",
    "no object": "[300]",
    "a word": "nan",
    "python": "{'temp_tenths': 300}",
    "deep": '{"x": ' + "[" * 5000 + "]" * 5000 + "}",
    "no UTF-8 in device_id": b'{"temp_tenths": 300, "sensor_ok": true, "device_id": "\xff"}',
    "impossible device_id": '{"temp_tenths": 300, "sensor_ok": true, "device_id": 7}',
    "half a device_id": '{"temp_tenths": 300, "sensor_ok": true, "device_id": "\\ud800"}',
}


@each_path
@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_cannot_be_read_is_a_fault_of_the_device_whose_key_it_has(
    container, port, key, path, name
):
    sender = await switched_on(container, port, path, key)
    assert relays(await sender.commanded(UNREADABLE[name])) == OFF
    assert await fault_of(container) == ("roof", None, "unreadable")


@each_path
@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_cannot_be_read_with_a_wrong_key_is_401(container, port, key, path, name):
    sender = Sender(container, port, path, "wrong")
    answer = await sender.post(UNREADABLE[name])
    assert (answer.status, answer.json()["code"]) == (401, "INVALID_DEVICE_KEY")
    assert await stored(container) == []


@each_path
@pytest.mark.parametrize("name", UNREADABLE)
async def test_what_cannot_be_read_without_a_key_is_refused(container, port, key, path, name):
    answer = await Sender(container, port, path).post(UNREADABLE[name])
    code = answer.json()["errors"][0]["code"] if answer.status == 200 else answer.json()["code"]
    assert code == ("INVALID_FIELD" if "device_id" in name else "INVALID_JSON")
    assert answer.status == 400 or (path in {"json", "ndjson"} and answer.json()["commands"] == [])
    assert await stored(container) == []


@each_path
@pytest.mark.parametrize("name", UNREADABLE)
async def test_where_keys_are_not_looked_at_what_cannot_be_read_is_nobodys(
    config, clock, path, name
):
    async with (
        served(config, clock, device_auth="off") as container,
        serving(container.app, container.posts) as port,
    ):
        key = await container.base.admin.register_device("default", "roof")
        answer = await Sender(container, port, path, key).post(UNREADABLE[name])
        assert answer.status == 400 or answer.json()["accepted"] == 0
        assert await stored(container) == []


@each_path
@pytest.mark.parametrize("key_is", ["right", "wrong", None])
@pytest.mark.parametrize("body", ["", " \n", "{}", "{ }"])
async def test_a_body_without_data_is_no_fault_whatever_key_it_has(
    container, port, key, path, key_is, body
):
    sender = Sender(container, port, path, {"right": key}.get(key_is, key_is))
    whole = body if path != "json" else body.replace("{}", "[]").replace("{ }", "[ ]")
    if path == "ndjson" and body.strip():
        return  # a row of a batch: below
    answer = await sender.post_whole(whole.encode())
    assert (answer.status, answer.json()["code"]) == (400, "NO_DATA")
    assert await stored(container) == []


@pytest.mark.parametrize("path", ["json", "ndjson"])
async def test_a_row_without_data_is_no_fault_although_a_key_came_with_it(
    container, port, key, path
):
    sender = await switched_on(container, port, path, key)
    answer = await sender.post("{}")
    assert (answer.status, answer.json()["commands"]) == (200, [])
    assert [one["code"] for one in answer.json()["errors"]] == ["NO_DATA"]
    assert len(await stored(container)) == 1


@pytest.mark.parametrize("path", ["json", "ndjson"])
async def test_an_unreadable_row_is_a_fault_beside_the_others(container, port, key, path):
    sender = await switched_on(container, port, path, key)
    rows = [HOT, '{"device_id": ""}']
    body = f"[{', '.join(rows)}]" if path == "json" else "\n".join(rows)
    answer = await sender.post_whole(body.encode())
    assert (answer.json()["accepted"], relays(command(answer))) == (2, OFF)
    assert await fault_of(container) == ("roof", None, "unreadable")


NO_BATCH = {
    "cut": b'[{"temp_tenths": 300, "sensor_ok": true}',
    "an object": b'{"temp_tenths": 300, "sensor_ok": true}',
    "no JSON": b"\xff\xfe",
    "too many": b"[" + b"7," * 1000 + b"7]",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", NO_BATCH)
async def test_a_whole_batch_that_cannot_be_read_is_one_fault_of_its_key(
    container, port, key, name
):
    sender = await switched_on(container, port, "json", key)
    answer = await sender.post_whole(NO_BATCH[name])
    assert (answer.json()["accepted"], relays(command(answer))) == (1, OFF)
    assert await fault_of(container) == ("roof", None, "unreadable")


@pytest.mark.parametrize("name", NO_BATCH)
async def test_a_whole_batch_that_cannot_be_read_is_refused_with_a_wrong_key_or_none(
    container, port, key, name
):
    for wrong, status in (("wrong", 401), (None, 400)):
        answer = await Sender(container, port, "json", wrong).post_whole(NO_BATCH[name])
        assert answer.status == status
    assert await stored(container) == []


@each_path
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_another_content_type_is_a_fault_with_a_right_key_and_refused_without(
    container, port, key, path, kind
):
    sender = await switched_on(container, port, path, key)
    assert relays(await sender.commanded(HOT, Content_Type=kind)) == OFF
    assert await fault_of(container) == ("roof", None, "unreadable")
    for wrong, code in (
        ("wrong", (401, "INVALID_DEVICE_KEY")),
        (None, (415, "UNSUPPORTED_MEDIA_TYPE")),
    ):
        answer = await Sender(container, port, path, wrong).post(HOT, Content_Type=kind)
        assert (answer.status, answer.json()["code"]) == code
    assert len(await stored(container)) == 2


@each_path
async def test_a_body_that_is_too_long_is_a_fault_with_a_right_key_and_refused_without(
    container, port, key, path
):
    sender = await switched_on(container, port, path, key)
    assert relays(await sender.commanded(TOO_LONG)) == OFF
    assert await fault_of(container) == ("roof", None, "unreadable")
    for wrong, code in (("wrong", (401, "INVALID_DEVICE_KEY")), (None, (413, "TOO_LARGE"))):
        answer = await Sender(container, port, path, wrong).post(TOO_LONG)
        assert (answer.status, answer.json()["code"]) == code
    assert len(await stored(container)) == 2


@pytest.mark.parametrize("target", [SINGLE, BATCH])
async def test_on_a_socket_too_an_endless_body_is_answered_200_to_a_right_key(
    container, port, key, target
):
    headers = {"X-Device-Key": key, "Transfer-Encoding": "chunked", "Connection": "close"}
    head = request(b"", headers, target).replace(b"Content-Length: 0\r\n", b"")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    (answer,) = await ask(port, head, *[chunk] * 5, b"0\r\n\r\n")
    assert relays(command(answer)) == OFF
    assert await fault_of(container) == ("roof", None, "unreadable")


@each_path
async def test_an_unreadable_post_under_a_key_that_came_before_is_obeyed(
    container, port, key, path
):
    sender = Sender(container, port, path, key)
    for body, expected in ((HOT, ON), ("nonsense", OFF)):
        told = await sender.commanded(body, Idempotency_Key="k-1")
        assert relays(told) == expected
    assert len(await stored(container)) == 1
