"""An ordinary post of a reading is answered before Quart, and exactly as Quart would answer it."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.http import Caller, exchange, lose_store, stored

PATH = "/api/sensor_data"
# A header that means nothing, but that not every device sends.
UNUSUAL = {"X-Firmware": "7"}
BODIES = {
    "reading": b'{"temp_tenths": 301, "sensor_ok": true}',
    "fault": b'{"temp_tenths": 301, "sensor_ok": false}',
    "named": b'{"temp_tenths": 301, "sensor_ok": true, "device_id": "roof"}',
    "ticks": b'{"temp_tenths": 301, "sensor_ok": true, "timestamp": 12345}',
    "unknown keys": b'{"temp_tenths": 301, "humidity": {"a": [1, 2]}}',
    "spaces": b' \n{"temp_tenths":\t301}\r\n ',
    "twice": b'{"temp_tenths": 1, "temp_tenths": 301}',
    "text": b'{"temp_tenths": "301"}',
    "bool": b'{"temp_tenths": true}',
    "float": b'{"temp_tenths": 30.1}',
    "too hot": b'{"temp_tenths": 1251}',
    "long id": b'{"temp_tenths": 301, "device_id": "' + b"x" * 200 + b'"}',
    "empty id": b'{"temp_tenths": 301, "device_id": ""}',
    "nothing": b"",
    "empty object": b"{}",
    "defaults": b'{"temp_tenths": 0, "sensor_ok": false}',
    "array": b"[]",
    "number": b"7",
    "null": b"null",
    "cut": b'{"temp_tenths": 30',
    "no utf-8": b'{"device_id": "\xff"}',
    "surrogate": b'{"temp_tenths": 1, "device_id": "\\ud800"}',
    "deep": b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
    "long": b'{"temp_tenths": 301, "pad": "' + b"x" * 5000 + b'"}',
}


@pytest.fixture
def in_quart(container):
    """The requests that came to Quart."""
    seen = []

    async def note():
        from quart import request

        seen.append(request.path)

    container.app.before_request_funcs[None].insert(0, note)
    return seen


async def answer(container, body, headers):
    return await Caller(container.app).post_text(PATH, body, headers=headers)


def comparable(answer):
    headers = sorted((name.lower(), text) for name, text in answer.headers.items())
    return answer.status, answer.json(), headers


@pytest.mark.parametrize("name", BODIES)
async def test_both_ways_give_the_same_answer(container, in_quart, name):
    plain = await answer(container, BODIES[name], {})
    by_quart = await answer(container, BODIES[name], UNUSUAL)
    assert comparable(plain) == comparable(by_quart)
    assert len(in_quart) == (1 if plain.status == 200 and name not in {"long", "defaults"} else 2)


@pytest.mark.parametrize("name", ["reading", "named", "ticks"])
async def test_both_ways_store_the_same_reading(container, in_quart, clock, name):
    await answer(container, BODIES[name], {})
    await answer(container, BODIES[name], UNUSUAL)
    one, other = await stored(container)
    assert one == other
    assert len(in_quart) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": "bas_session_id=0123456789abcdef"},
        {"X-Session-ID": "0123456789abcdef"},
        {"Origin": "http://elsewhere.example"},
        {"X-BAS-Tenant": "elsewhere"},
        {"Idempotency-Key": "one"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "text/plain"},
        {"Authorization": "Bearer wrong", "X-Device-Key": "wrong too"},
    ],
)
async def test_whatever_could_change_who_is_asking_goes_to_quart(container, in_quart, headers):
    found = await answer(container, BODIES["reading"], headers)
    assert len(in_quart) == 1
    assert found.status in {200, 401, 403, 415}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Device-Key": "KEY"},
        {"Authorization": "Bearer KEY"},
        {"Authorization": "bearer  KEY "},
        {"X-Device-Key": "wrong"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic KEY"},
        {"Authorization": "Bearer"},
        {"X-Device-Key": ""},
    ],
)
async def test_a_device_with_a_key_is_known_both_ways(container, in_quart, headers):
    key = await container.base.admin.register_device("elsewhere", "cellar")
    await container.base.admin.register_device("default", "roof")
    headers = {name: text.replace("KEY", key) for name, text in headers.items()}
    plain = await answer(container, BODIES["named"].replace(b"roof", b"cellar"), headers)
    by_quart = await answer(
        container, BODIES["named"].replace(b"roof", b"cellar"), headers | UNUSUAL
    )
    assert comparable(plain) == comparable(by_quart)
    guarded = await answer(container, BODIES["named"], headers)
    assert comparable(guarded) == comparable(
        await answer(container, BODIES["named"], headers | UNUSUAL)
    )
    assert guarded.status in {401, 403}
    assert len(in_quart) == 2


async def test_a_body_that_is_not_said_to_be_json_is_refused(container, in_quart):
    headers = [(b"content-length", b"%d" % len(BODIES["reading"]))]
    found = await exchange(container.app, "POST", PATH, headers=headers, body=BODIES["reading"])
    assert (found.status, found.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert await stored(container) == []
    assert len(in_quart) == 1


async def test_a_lost_store_is_told_both_ways(container, in_quart):
    await lose_store(container)
    plain = await answer(container, BODIES["reading"], {})
    assert comparable(plain) == comparable(await answer(container, BODIES["reading"], UNUSUAL))
    assert (plain.status, plain.json()["code"]) == (503, "STORE_UNAVAILABLE")
    assert plain.headers["Retry-After"]
    assert len(in_quart) == 1


async def test_a_bug_is_told_both_ways(container, in_quart, monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr("server.control.zones.decide", fail)
    plain = await answer(container, BODIES["reading"], {})
    assert comparable(plain) == comparable(await answer(container, BODIES["reading"], UNUSUAL))
    assert (plain.status, plain.json()["code"]) == (500, "INTERNAL")


async def test_over_https_the_transport_rule_is_sent(container, in_quart):
    caller = Caller(container.app, scheme="https")
    found = await caller.post_text(PATH, BODIES["reading"])
    assert found.status == 200
    assert "Strict-Transport-Security" in found.headers
    assert len(in_quart) == 1


async def test_a_body_in_pieces_is_one_body(container, in_quart):
    sent, asked = [], asyncio.Queue()
    for piece in (b'{"temp_te', b'nths": 301,', b' "sensor_ok": true}'):
        asked.put_nowait({"type": "http.request", "body": piece, "more_body": True})
    asked.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    scope = await _scope(container, len(BODIES["reading"]))
    await container.app(scope, asked.get, lambda message: _note(sent, message))
    assert [message.get("status") for message in sent] == [200, None]
    assert in_quart == []
    assert [reading.temp_tenths for reading in await stored(container)] == [301]


async def test_a_client_that_hangs_up_within_its_body_stores_nothing(container, in_quart):
    sent, asked = [], asyncio.Queue()
    asked.put_nowait({"type": "http.request", "body": BODIES["reading"], "more_body": True})
    asked.put_nowait({"type": "http.disconnect"})
    scope = await _scope(container, 500)
    async with asyncio.timeout(5):
        await container.app(scope, asked.get, lambda message: _note(sent, message))
    assert await stored(container) == []


async def _scope(container, length):
    """As a server makes it for an ordinary post."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % length)]
    return {
        "type": "http",
        "asgi": {},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"bas"), *headers],
        "client": ("192.0.2.10", 40_000),
        "server": ("127.0.0.1", 80),
        "state": {},
        "extensions": {},
    }


async def _note(sent, message):
    sent.append(message)
