"""POST /api/sensor_data/batch: each row is accepted or refused by itself, a body as a whole."""

from __future__ import annotations

import asyncio
import json
import uuid

import pytest

from server.control import batch_service
from server.services.sse_service.stream_request import StreamRequest
from tests.support.http import Caller, lose_store, reading, stored

PATH = "/api/sensor_data/batch"
NDJSON = {"Content-Type": "application/x-ndjson"}
COMMAND = {"cool_active", "heat_active", "setpoint_tenths", "deadband_tenths"}


@pytest.fixture
def gateway(container):
    return Caller(container.app)


async def lines(gateway, body, **headers):
    return await gateway.open("POST", PATH, data=body, headers=NDJSON | headers)


def errors_of(answer):
    """The index and the code of each refused row."""
    return [(error["index"], error["code"]) for error in answer.json()["errors"]]


async def kept(container, tenant_id="default"):
    """Device and temperature of every stored reading, sorted."""
    return sorted((one.device_id, one.temp_tenths) for one in await stored(container, tenant_id))


async def test_each_device_gets_one_command_and_every_row_is_stored(gateway, container):
    rows = [reading(300, device_id="a"), reading(200, device_id="b"), reading(301, device_id="a")]
    answer = await gateway.post(PATH, rows)
    assert answer.status == 200
    body = answer.json()
    assert (body["accepted"], body["errors"]) == (3, [])
    commands = {one.pop("device_id"): one for one in body["commands"]}
    assert all(one.keys() == COMMAND for one in commands.values())
    assert {name: one["cool_active"] for name, one in commands.items()} == {"a": True, "b": False}
    assert await kept(container) == [("a", 300), ("a", 301), ("b", 200)]


async def test_a_row_without_a_device_belongs_to_unknown_and_without_a_value_is_a_fault(
    gateway, container
):
    answer = await gateway.post(PATH, [{"sensor_ok": True}])
    (command,) = answer.json()["commands"]
    assert command["device_id"] == "unknown"
    assert (command["cool_active"], command["heat_active"]) == (False, False)
    (one,) = await stored(container)
    assert (one.device_id, one.temp_tenths, one.fault_reason) == ("unknown", None, "no_value")


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ('{"device_id": ""}', "INVALID_FIELD"),
        ('{"device_id": "a\\u0000"}', "INVALID_FIELD"),
        ('{"device_id": "' + "x" * 129 + '"}', "INVALID_FIELD"),
        ('{"device_id": "\\ud800"}', "INVALID_FIELD"),
        ("{}", "NO_DATA"),
        ("{ }", "NO_DATA"),
        ("7", "INVALID_JSON"),
        ("null", "INVALID_JSON"),
        ('"text"', "INVALID_JSON"),
        ("[]", "INVALID_JSON"),
        ('[{"temp_tenths": 1}]', "INVALID_JSON"),
    ],
)
@pytest.mark.parametrize("ndjson", [False, True])
async def test_a_bad_row_is_reported_with_its_index_and_the_others_are_stored(
    gateway, container, row, code, ndjson
):
    good = json.dumps(reading(235, device_id="lab"))
    if ndjson:
        answer = await lines(gateway, f"{good}\n{row}\n{good}\n")
    else:
        answer = await gateway.post_text(PATH, f"[{good}, {row}, {good}]")
    assert answer.status == 200
    assert errors_of(answer) == [(1, code)]
    assert all(error.keys() >= {"error", "code"} for error in answer.json()["errors"])
    assert answer.json()["accepted"] == 2
    assert await kept(container) == [("lab", 235), ("lab", 235)]


async def test_each_row_of_a_batch_of_bad_rows_is_reported(gateway, container):
    answer = await gateway.post(PATH, [reading(device_id=7), {}])
    assert (answer.status, answer.json()["accepted"]) == (200, 0)
    assert errors_of(answer) == [(0, "INVALID_FIELD"), (1, "NO_DATA")]
    assert answer.json()["commands"] == []
    assert await stored(container) == []


async def test_empty_braces_inside_a_row_do_not_make_it_an_empty_row(gateway, container):
    answer = await gateway.post(PATH, [reading(235, device_id="{}", more={})])
    assert (answer.json()["accepted"], errors_of(answer)) == (1, [])
    assert await kept(container) == [("{}", 235)]


async def test_lines_may_be_blank_or_end_in_crlf_and_the_last_may_have_no_end(gateway, container):
    rows = [json.dumps(reading(temp)) for temp in (201, 202, 203)]
    body = f"\n{rows[0]}\r\n\r\n  \n{rows[1]}\n{rows[2]}"
    answer = await lines(gateway, body)
    assert (answer.json()["accepted"], answer.json()["errors"]) == (3, [])
    assert await kept(container) == [("unknown", temp) for temp in (201, 202, 203)]


@pytest.mark.parametrize("bad", ["{", '{"temp_tenths": 1', "nonsense", "\x00", "{} {}", "1,2"])
async def test_a_malformed_line_is_reported_with_its_index_without_blank_lines(
    gateway, container, bad
):
    answer = await lines(gateway, f"\n{json.dumps(reading(235))}\n\n{bad}\n")
    assert errors_of(answer) == [(1, "INVALID_JSON")]
    assert len(await stored(container)) == 1


async def test_a_line_that_is_not_utf8_or_is_nested_too_deeply_is_reported_as_that_row_s_error(
    gateway, container
):
    nested = b'{"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    body = b'{"device_id": "\xff\xfe"}\n' + nested + b"\n" + json.dumps(reading(1)).encode()
    answer = await lines(gateway, body)
    assert errors_of(answer) == [(0, "INVALID_FIELD"), (1, "INVALID_JSON")]
    assert len(await stored(container)) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "NO_DATA"),
        (" \n ", "NO_DATA"),
        ("[]", "NO_DATA"),
        ("{}", "INVALID_JSON"),
        ('{"temp_tenths": 235}', "INVALID_JSON"),
        ("7", "INVALID_JSON"),
        ("null", "INVALID_JSON"),
        ('[{"temp_tenths": 235}', "INVALID_JSON"),
        ('[{"temp_tenths": 235}]]', "INVALID_JSON"),
        ('[{"temp_tenths": 235},]', "INVALID_JSON"),
        ("[" * 100_000, "INVALID_JSON"),
        ("[" + ",".join(["1"] * 1001) + "]", "TOO_MANY_READINGS"),
    ],
)
async def test_a_body_that_is_no_batch_is_refused_as_a_whole(gateway, container, body, code):
    answer = await gateway.post_text(PATH, body)
    assert (answer.status, answer.json()["code"]) == (400, code)
    assert await stored(container) == []


@pytest.mark.parametrize("body", ["", "\n\r\n \n"])
async def test_a_body_of_blank_lines_is_refused_as_no_data(gateway, body):
    answer = await lines(gateway, body)
    assert (answer.status, answer.json()["code"]) == (400, "NO_DATA")


@pytest.mark.parametrize("ndjson", [False, True])
async def test_a_batch_of_1000_rows_is_accepted_and_one_of_1001_refused(gateway, container, ndjson):
    def batch(count):
        rows = [reading(number, device_id=f"d{number % 7}") for number in range(count)]
        if ndjson:
            body = "".join(json.dumps(row) + "\n" for row in rows)
            return lines(gateway, body)
        return gateway.post(PATH, rows)

    answer = await batch(1001)
    assert (answer.status, answer.json()["code"]) == (400, "TOO_MANY_READINGS")
    assert await stored(container) == []
    answer = await batch(1000)
    assert answer.json()["accepted"] == 1000
    assert await kept(container) == sorted((f"d{number % 7}", number) for number in range(1000))


async def test_1000_rows_of_one_device_are_stored_in_their_order(gateway, container, clock):
    first_ms = clock.now_ms() - 2_000_000
    rows = [
        reading(number, device_id="lab", timestamp=first_ms + 2000 * number)
        for number in range(1000)
    ]
    answer = await gateway.post(PATH, rows)
    assert answer.json()["accepted"] == 1000
    newest_first = [one.temp_tenths for one in await stored(container)]
    assert newest_first == list(range(999, -1, -1))
    status = (await gateway.get("/api/status")).json()
    assert (status["temp_tenths"], status["cool_active"]) == (999, True)


async def test_1000_ordinary_rows_fit_into_a_body(gateway):
    rows = [
        reading(235, device_id=str(uuid.uuid4()), timestamp=1_790_000_000_000, seq=123_456_789)
        | {"key": str(uuid.uuid4())}
        for _ in range(1000)
    ]
    assert (await gateway.post(PATH, rows)).json()["accepted"] == 1000


async def test_a_body_over_256_kib_gets_413(gateway, container):
    body = json.dumps([reading()])
    answer = await gateway.post_text(PATH, body + " " * (256 * 1024 + 1 - len(body)))
    assert (answer.status, answer.json()["code"]) == (413, "TOO_LARGE")
    assert await stored(container) == []


@pytest.mark.parametrize("kind", ["text/plain", "application/ndjson", "", "multipart/form-data"])
async def test_another_content_type_gets_415(gateway, container, kind):
    answer = await gateway.open(
        "POST", PATH, data=json.dumps([reading()]), headers={"Content-Type": kind}
    )
    assert (answer.status, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert await stored(container) == []


async def test_without_the_store_each_device_gets_a_command_and_no_row_is_accepted(
    gateway, container
):
    await lose_store(container)
    answer = await gateway.post(PATH, [reading(), reading(device_id="x")])
    assert (answer.status, answer.json()["accepted"]) == (200, 0)
    assert errors_of(answer) == [(0, "STORE_UNAVAILABLE"), (1, "STORE_UNAVAILABLE")]
    commands = {one["device_id"]: one for one in answer.json()["commands"]}
    assert commands.keys() == {"unknown", "x"}
    assert [one["stored"] for one in commands.values()] == [False, False]


async def test_without_the_store_a_batch_with_a_key_gets_503_with_the_commands(gateway, container):
    await lose_store(container)
    answer = await gateway.post(PATH, [reading()], headers={"Idempotency-Key": "b"})
    assert (answer.status, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
    assert "Retry-After" in answer.headers
    assert [one["stored"] for one in answer.json()["commands"]] == [False]


async def test_if_the_store_is_lost_in_the_middle_the_rows_not_stored_are_reported(
    gateway, container, monkeypatch
):
    """600 rows of one device take two writes, and the second one finds no store."""
    client, write = container.base.client, container.base.client.write
    calls = 0

    async def fail_second(writes, *readings):
        nonlocal calls
        # On SQLite, readings are the second argument; background work writes few documents.
        calls += bool(readings) or len(writes) > 100
        if calls > 1:
            await lose_store(container)
        return await write(writes, *readings)

    rows = [reading(number - 500, device_id="lab") for number in range(600)]
    monkeypatch.setattr(client, "write", fail_second)
    answer = await gateway.post(PATH, rows)
    assert (answer.status, answer.json()["accepted"]) == (200, 499)
    assert errors_of(answer) == [(index, "STORE_UNAVAILABLE") for index in range(499, 600)]
    assert [one["device_id"] for one in answer.json()["commands"]] == ["lab"]


async def test_simultaneous_batches_and_single_posts_of_one_device_lose_no_reading(
    gateway, container
):
    async def batch(number):
        rows = [reading(number * 20 + row, device_id="lab") for row in range(20)]
        answer = await gateway.post(PATH, rows)
        assert (answer.status, answer.json()["accepted"]) == (200, 20)

    async def single(number):
        answer = await gateway.post("/api/sensor_data", reading(-number - 1, device_id="lab"))
        assert answer.status == 200

    await asyncio.gather(*(do(number) for number in range(20) for do in (batch, single)))
    expected = [("lab", number) for number in range(-20, 400)]
    assert await kept(container) == expected


async def test_batches_with_the_same_devices_in_another_order_do_not_deadlock(
    gateway, container, monkeypatch
):
    # On a slow machine the batches only wait longer for each other.
    monkeypatch.setattr(batch_service, "LOCK_WAIT_S", 60.0)
    monkeypatch.setattr(batch_service, "BEGIN_S", 60.0)
    names = [f"d{number}" for number in range(100)]

    async def batch(order):
        answer = await gateway.post(PATH, [reading(device_id=name) for name in order])
        assert (answer.status, answer.json()["accepted"]) == (200, 100)

    await asyncio.gather(*(batch(names[::step]) for step in (1, -1) for _ in range(5)))
    assert len(await stored(container)) == 1000


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "b"}])
async def test_every_stored_row_is_announced_once_and_in_the_order_of_its_device(
    gateway, container, headers
):
    received = {"d0": [], "d1": [], "d2": []}
    ready = asyncio.Event()

    async def read():
        stream = await container.sse.subscribe(StreamRequest("default"))
        async for piece in stream:
            for line in piece.decode().split("\n"):
                if line.startswith("data: {") and "temp_tenths" in line:
                    event = json.loads(line.removeprefix("data: "))
                    received[event["device_id"]].append(event["temp_tenths"])
            ready.set()
            if sum(map(len, received.values())) >= 300:
                stream.close()
                break

    reader = asyncio.create_task(read())
    await ready.wait()
    rows = [reading(number, device_id=f"d{number % 3}") for number in range(300)]
    rows.insert(7, reading(device_id=7))
    answer = await gateway.post(PATH, rows, headers=headers)
    assert answer.json()["accepted"] == 300
    async with asyncio.timeout(60):
        await reader
    assert received == {f"d{rest}": list(range(rest, 300, 3)) for rest in range(3)}
