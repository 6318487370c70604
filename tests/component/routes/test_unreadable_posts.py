"""An unreadable post is a fault of the device whose key it has; without a key it is refused.

Section 6 of the contract: anything unreadable with a right device key is a fault.
"""

from __future__ import annotations

from itertools import product

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
    """A device with a key that posts over this path, with both relays on."""
    sender = Sender(container, port, path, key)
    assert relays(await sender.commanded(HOT)) == ON
    return sender


async def fault_of(container):
    """The one stored fault: its device, its temperature, and its reason."""
    (one,) = [one for one in await stored(container) if not one.sensor_ok]
    return one.device_id, one.temp_tenths, one.fault_reason


async def status_of(sender, code, answer):
    """Asserts that a post is refused with this status and code, and not stored."""
    assert (answer.status, answer.json()["code"]) == code
    assert await stored(sender.container) == []


# Bodies that can be read neither as a row of a batch nor as a single post.
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
async def test_an_unreadable_post_with_a_right_key_is_a_fault_of_its_device(
    container, port, key, path, name
):
    sender = await switched_on(container, port, path, key)
    assert relays(await sender.commanded(UNREADABLE[name])) == OFF
    assert await fault_of(container) == ("roof", None, "unreadable")


@each_path
async def test_an_unreadable_post_with_a_wrong_key_gets_401(container, port, key, path):
    sender = Sender(container, port, path, "wrong")
    for name, body in UNREADABLE.items():
        answer = await sender.post(body)
        assert (answer.status, answer.json()["code"]) == (401, "INVALID_DEVICE_KEY"), name
        assert await stored(container) == [], name


@each_path
async def test_an_unreadable_post_without_a_key_is_refused(container, port, key, path):
    for name, body in UNREADABLE.items():
        answer = await Sender(container, port, path).post(body)
        content = answer.json()
        code = content["errors"][0]["code"] if answer.status == 200 else content["code"]
        assert code == ("INVALID_FIELD" if "device_id" in name else "INVALID_JSON"), name
        in_batch = path in {"json", "ndjson"} and content.get("commands") == []
        assert answer.status == 400 or in_batch, name
        assert await stored(container) == [], name


@each_path
async def test_with_device_auth_off_an_unreadable_post_is_refused(config, clock, path):
    async with (
        served(config, clock, device_auth="off") as container,
        serving(container.app, container.posts) as port,
    ):
        key = await container.base.admin.register_device("default", "roof")
        for name, body in UNREADABLE.items():
            answer = await Sender(container, port, path, key).post(body)
            assert answer.status == 400 or answer.json()["accepted"] == 0, name
            assert await stored(container) == [], name


@each_path
async def test_a_body_without_data_is_no_fault_whatever_its_key(container, port, key, path):
    for body, sent in product(("", " \n", "{}", "{ }"), (key, "wrong", None)):
        whole = body if path != "json" else body.replace("{}", "[]").replace("{ }", "[ ]")
        if path == "ndjson" and body.strip():
            continue  # a row of a batch: tested below
        answer = await Sender(container, port, path, sent).post_whole(whole.encode())
        assert (answer.status, answer.json()["code"]) == (400, "NO_DATA"), (body, sent)
        assert await stored(container) == [], (body, sent)


@pytest.mark.parametrize("path", ["json", "ndjson"])
async def test_a_row_without_data_is_no_fault_even_with_a_key(container, port, key, path):
    sender = await switched_on(container, port, path, key)
    answer = await sender.post("{}")
    assert (answer.status, answer.json()["commands"]) == (200, [])
    assert [one["code"] for one in answer.json()["errors"]] == ["NO_DATA"]
    assert len(await stored(container)) == 1


@pytest.mark.parametrize("path", ["json", "ndjson"])
async def test_an_unreadable_row_is_a_fault_and_the_others_are_accepted(container, port, key, path):
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
async def test_an_unreadable_batch_with_a_right_key_is_one_fault_of_its_device(
    container, port, key, name
):
    sender = await switched_on(container, port, "json", key)
    answer = await sender.post_whole(NO_BATCH[name])
    assert (answer.json()["accepted"], relays(command(answer))) == (1, OFF)
    assert await fault_of(container) == ("roof", None, "unreadable")


@pytest.mark.parametrize("name", NO_BATCH)
async def test_an_unreadable_batch_without_a_right_key_is_refused(container, port, key, name):
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
async def test_a_too_long_body_is_a_fault_with_a_right_key_and_refused_without(
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
async def test_a_too_long_chunked_body_on_a_socket_is_a_fault_with_a_right_key(
    container, port, key, target
):
    headers = {"X-Device-Key": key, "Transfer-Encoding": "chunked", "Connection": "close"}
    head = request(b"", headers, target).replace(b"Content-Length: 0\r\n", b"")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    (answer,) = await ask(port, head, *[chunk] * 5, b"0\r\n\r\n")
    assert relays(command(answer)) == OFF
    assert await fault_of(container) == ("roof", None, "unreadable")


@each_path
async def test_an_unreadable_post_under_a_used_idempotency_key_cuts(container, port, key, path):
    sender = Sender(container, port, path, key)
    for body, expected in ((HOT, ON), ("nonsense", OFF)):
        answered = await sender.commanded(body, Idempotency_Key="k-1")
        assert relays(answered) == expected
    assert len(await stored(container)) == 1
