"""Bodies that come compressed: gzip is taken by every route that takes JSON, nothing else is."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import pytest
from werkzeug.exceptions import RequestEntityTooLarge

from server.app import BODY_MAX_BYTES
from server.routes.inflating import inflated
from tests.conftest import PASSWORD
from tests.support.http import Caller, logged_in, stored
from tests.support.serving import ask, request

READING = b'{"temp_tenths": 301, "sensor_ok": true}'
PACKED = gzip.compress(READING)
GZIP = {"Content-Encoding": "gzip"}
SINGLE, BATCH = "/api/sensor_data", "/api/sensor_data/batch"
BODIES = {
    SINGLE: READING,
    BATCH: b"[" + READING + b"]",
    "/api/set_setpoint": b'{"setpoint_tenths": 215}',
    "/api/devices/register": b'{"device_id": "roof"}',
    "/auth/login": json.dumps({"username": "admin", "password": PASSWORD}).encode(),
    "/auth/logout": b'{"session_id": "0123456789abcdef"}',
}


async def send(caller, path, body, encoding="gzip", content_type="application/json"):
    headers = {"Content-Encoding": encoding, "Content-Type": content_type}
    return await caller.post(path, data=body, headers=headers)


@pytest.mark.parametrize("path", BODIES)
async def test_every_route_that_takes_json_takes_it_compressed(container, path):
    admin = await logged_in(container, "admin")
    answer = await send(admin, path, gzip.compress(BODIES[path]))
    assert answer.status == 200, answer.body


async def test_no_route_that_takes_json_is_left_out_here(container):
    paths = (await Caller(container.app).get("/openapi.json")).json()["paths"]
    takes_json = {path for path, about in paths.items() if "requestBody" in about.get("post", {})}
    assert set(BODIES) == takes_json


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", PACKED),
        ("x-gzip", PACKED),
        ("GZip", PACKED),
        ("identity, gzip", PACKED),
        ("identity", READING),
        ("", READING),
        ("gzip", gzip.compress(READING[:9]) + gzip.compress(READING[9:])),
    ],
)
async def test_a_reading_is_stored_as_it_was_before_it_was_compressed(container, encoding, body):
    answer = await send(Caller(container.app), SINGLE, body, encoding)
    assert answer.status == 200, answer.body
    assert [reading.temp_tenths for reading in await stored(container)] == [301]


async def test_lines_of_a_batch_may_be_compressed(container):
    body = gzip.compress(READING + b"\n" + READING)
    answer = await send(Caller(container.app), BATCH, body, content_type="application/x-ndjson")
    assert (answer.status, answer.json()["accepted"]) == (200, 2)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br", "x" * 500])
async def test_another_encoding_is_refused_by_its_name(container, path, encoding):
    admin = await logged_in(container, "admin")
    answer = await send(admin, path, BODIES[path], encoding)
    assert (answer.status, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    message = answer.json()["message"]
    assert message.startswith(f"Content-Encoding {encoding[:100]} is not taken")
    assert "gzip" in message.removeprefix(f"Content-Encoding {encoding[:100]}")
    assert len(message) < 250


BROKEN = {
    "no gzip": READING,
    "another format": zlib.compress(READING),
    "cut": PACKED[:-1],
    "cut early": PACKED[:12],
    "wrong sum": PACKED[:-8] + b"\0" * 8,
    "more behind": PACKED + b"more",
    "many members": gzip.compress(b"") * 1000 + PACKED,
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_whole_gzip_is_refused_with_the_reason(container, path, name):
    admin = await logged_in(container, "admin")
    answer = await send(admin, path, BROKEN[name])
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_JSON")
    assert answer.json()["message"].startswith("the body cannot be read as gzip: ")
    assert await stored(container) == []


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_that_grows_beyond_the_bound_of_bodies_is_too_large(container, path):
    admin = await logged_in(container, "admin")
    answer = await send(admin, path, gzip.compress(b" " * BODY_MAX_BYTES + BODIES[path]))
    assert (answer.status, answer.json()["code"]) == (413, "TOO_LARGE")


async def test_a_body_may_grow_up_to_the_bound_of_bodies(container):
    body = READING + b" " * (BODY_MAX_BYTES - len(READING))
    answer = await send(Caller(container.app), SINGLE, gzip.compress(body))
    assert answer.status == 200


@pytest.mark.parametrize("members", [1, 10])
def test_a_bomb_takes_no_more_memory_than_a_body_may(members):
    bomb = gzip.compress(b" " * (50_000_000 // members)) * members
    tracemalloc.start()
    try:
        with pytest.raises(RequestEntityTooLarge):
            inflated(bomb, BODY_MAX_BYTES)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * BODY_MAX_BYTES


async def test_an_empty_body_is_no_data_whatever_its_encoding(container):
    answer = await send(Caller(container.app), SINGLE, b"")
    assert (answer.status, answer.json()["code"]) == (400, "NO_DATA")


async def test_a_compressed_post_goes_to_quart_and_is_answered_there(container, port, in_quart):
    sent = request(PACKED, GZIP | {"Connection": "close"})
    (answer,) = await ask(port, sent)
    assert answer.status == 200
    assert in_quart == [SINGLE]


async def test_a_gzip_that_its_length_has_cut_is_refused_with_the_cause(port):
    sent = request(PACKED, GZIP | {"Connection": "close", "Content-Length": str(len(PACKED) - 9)})
    (answer,) = await ask(port, sent)
    assert answer.status == 400
    assert answer.json()["message"].endswith(
        "it is truncated: the body is longer than Content-Length says"
    )
