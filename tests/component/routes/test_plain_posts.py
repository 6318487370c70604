"""An ordinary post of a reading is answered without Quart, exactly as Quart would answer it."""

from __future__ import annotations

import json

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.http.plain_posts import NotOrdinary, first_post
from tests.support.http import lose_store, stored
from tests.support.serving import ask, request

# Bodies that the fast path leaves to Quart: too long, no strict JSON, or without a known field.
LEFT_TO_QUART = {
    *("long", "nothing", "empty object", "array", "number", "null", "cut", "no utf-8"),
    *("surrogate", "deep", "bare word", "byte order mark", "no field"),
}
# A header without a meaning, which not every device sends.
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
    "bare word": b'{"temp_tenths": nan, "sensor_ok": true}',
    "byte order mark": b'\xef\xbb\xbf{"temp_tenths": 301, "sensor_ok": true}',
    "no field": b'{"humidity": 40}',
    "bad optional fields": b'{"temp_tenths": 301, "sensor_ok": true, "seq": "x", "key": 7}',
    "deep": b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
    "long": b'{"temp_tenths": 301, "pad": "' + b"x" * 5000 + b'"}',
}


# Each answer has another date; one that comes through Quart also has an id.
OWN = {"date", "x-request-id"}


async def answer(port, body, headers):
    (found,) = await ask(port, request(body, {"Connection": "close"} | headers))
    return found


def comparable(answer):
    # The clock's second may change between two answers.
    headers = sorted((name, text) for name, text in answer.headers.items() if name not in OWN)
    assert "date" in answer.headers
    return answer.status, answer.json(), headers


@pytest.mark.parametrize("name", BODIES)
async def test_the_fast_path_and_quart_give_the_same_answer(container, port, in_quart, name):
    plain = await answer(port, BODIES[name], {})
    by_quart = await answer(port, BODIES[name], UNUSUAL)
    assert comparable(plain) == comparable(by_quart)
    assert len(in_quart) == (2 if name in LEFT_TO_QUART else 1)


@pytest.mark.parametrize("name", ["reading", "named", "ticks"])
async def test_the_fast_path_and_quart_store_the_same_reading(
    container, port, in_quart, clock, name
):
    await answer(port, BODIES[name], {})
    await answer(port, BODIES[name], UNUSUAL)
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
async def test_a_post_with_a_header_that_may_identify_its_sender_goes_to_quart(
    container, port, in_quart, headers
):
    found = await answer(port, BODIES["reading"], headers)
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
async def test_the_fast_path_and_quart_identify_a_device_by_its_key(
    container, port, in_quart, headers
):
    key = await container.base.admin.register_device("elsewhere", "cellar")
    await container.base.admin.register_device("default", "roof")
    headers = {name: text.replace("KEY", key) for name, text in headers.items()}
    plain = await answer(port, BODIES["named"].replace(b"roof", b"cellar"), headers)
    by_quart = await answer(port, BODIES["named"].replace(b"roof", b"cellar"), headers | UNUSUAL)
    assert comparable(plain) == comparable(by_quart)
    guarded = await answer(port, BODIES["named"], headers)
    assert comparable(guarded) == comparable(await answer(port, BODIES["named"], headers | UNUSUAL))
    assert guarded.status in {401, 403}
    assert len(in_quart) == 2


async def test_a_body_without_a_json_content_type_is_refused(container, port, in_quart):
    asked = request(BODIES["reading"], {"Connection": "close"})
    (found,) = await ask(port, asked.replace(b"Content-Type: application/json\r\n", b""))
    assert (found.status, found.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert await stored(container) == []
    assert len(in_quart) == 1


async def test_the_fast_path_and_quart_give_the_same_answer_without_the_store(
    container, port, in_quart
):
    """Section 6, without the store: a single post is answered as not stored."""
    await lose_store(container)
    plain = await answer(port, BODIES["reading"], {})
    assert comparable(plain) == comparable(await answer(port, BODIES["reading"], UNUSUAL))
    assert (plain.status, plain.json()["stored"]) == (200, False)
    assert (plain.json()["cool_active"], plain.json()["heat_active"]) == (False, False)
    assert len(in_quart) == 1


async def test_the_fast_path_and_quart_answer_a_bug_in_the_same_way(
    container, port, in_quart, monkeypatch
):
    def fail(*arguments):
        raise ZeroDivisionError

    monkeypatch.setattr("server.control.rules.decision.decide_post", fail)
    plain = await answer(port, BODIES["reading"], {})
    assert comparable(plain) == comparable(await answer(port, BODIES["reading"], UNUSUAL))
    assert (plain.status, plain.json()["code"]) == (500, "INTERNAL")


BODY = b'{"temp_tenths": 301, "sensor_ok": true}'
# Parts of heads that h11 and a careless parser understand differently.
PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\n\r\n", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\x00", b"\x0b", b":"),
    *(b"Host: x", b"Content-Type: application/json", b"Connection: close", b"X-Device-Key: k"),
    *(b"Content-Length: 39", b"Content-Length: 039", b"Content-Length:39 ", b"Content-Length: 5"),
    *(b"Content-Length: 39, 39", b"Content-length : 3", b"Content-Length: 99999999999999999999"),
    b"Transfer-Encoding: chunked",
]
HEAD = request(b"x" * len(BODY))[: -len(BODY)].splitlines(keepends=True)


@settings(max_examples=2000, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from(PIECES)), max_size=4),
    st.sampled_from([b"", b"GET / HTTP/1.1\r\n\r\n", BODY]),
)
def test_a_post_ends_where_h11_ends_it_whatever_its_head_contains(changes, more):
    lines = list(HEAD)
    for index, piece in changes:
        lines.insert(index, piece)
    received = b"".join(lines) + BODY + more
    try:
        post = first_post(received)
    except NotOrdinary:
        return
    if post is None:
        return
    wire = h11.Connection(h11.SERVER)
    wire.receive_data(received)
    assert isinstance(wire.next_event(), h11.Request)
    body = b""
    while isinstance(event := wire.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert (received[: post.size][-len(body) :], wire.trailing_data[0]) == (
        body,
        received[post.size :],
    )
    assert post.body.temp_tenths == json.loads(body)["temp_tenths"]
