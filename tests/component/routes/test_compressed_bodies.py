"""Compressed bodies: every route that accepts JSON accepts gzip, and no other encoding."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import pytest
from werkzeug.exceptions import RequestEntityTooLarge

from server.http.app import BODY_MAX_BYTES
from server.http.body_limits import LONGER
from server.routes.inflating import inflated
from tests.component.security.principals import ALARM_ID, with_alarm
from tests.conftest import PASSWORD
from tests.support.http import Caller, logged_in, stored
from tests.support.serving import ask, request

READING = b'{"temp_tenths": 301, "sensor_ok": true}'
# A fixed time, as the bytes are part of test names, which must be the same in every worker.
PACKED = gzip.compress(READING, mtime=0)
NEW_PASSWORD = "seventeen green doors"
GZIP = {"Content-Encoding": "gzip"}
SINGLE, BATCH = "/api/sensor_data", "/api/sensor_data/batch"
BODIES = {
    SINGLE: READING,
    BATCH: b"[" + READING + b"]",
    "/api/set_setpoint": b'{"setpoint_tenths": 215}',
    "/api/zones.csv": b'{"csv": "device_id,name\\nroof,Roof"}',
    "/api/devices/register": b'{"device_id": "roof"}',
    "/api/devices/key": b'{"device_id": "roof", "overlap": false}',
    "/api/devices/key/revoke": b'{"device_id": "roof"}',
    "/api/devices/delete": b'{"device_id": "roof"}',
    "/api/tokens": b'{"name": "bridge"}',
    "/api/alarms/{alarm_id}/acknowledge": b"{}",
    "/api/alarms/{alarm_id}/shelve": b'{"seconds": 60}',
    "/api/alarms/{alarm_id}/comment": b'{"text": "loose cable"}',
    "/api/notice-targets": b'{"name": "a", "kind": "webhook", "url": "https://a.example"}',
    "/auth/login": json.dumps({"username": "admin", "password": PASSWORD}).encode(),
    "/api/users": json.dumps(
        {"username": "new", "password": NEW_PASSWORD, "role": "operator"}
    ).encode(),
    "/api/users/{username}/password": json.dumps({"password": NEW_PASSWORD}).encode(),
    "/auth/password": json.dumps({"old_password": PASSWORD, "password": NEW_PASSWORD}).encode(),
    "/auth/logout": b'{"session_id": "0123456789abcdef"}',
}


async def send(caller, path, body, encoding="gzip", content_type="application/json"):
    headers = {"Content-Encoding": encoding, "Content-Type": content_type}
    return await caller.post(path, data=body, headers=headers)


@pytest.mark.parametrize("path", BODIES)
async def test_every_route_that_accepts_json_accepts_it_compressed(container, path):
    admin = await logged_in(container, "admin")
    await admin.post("/api/devices/register", {"device_id": "roof"})
    await with_alarm(container)
    answer = await send(
        admin, path.format(username="reader", alarm_id=ALARM_ID), gzip.compress(BODIES[path])
    )
    assert answer.status == 200, answer.body


async def test_this_file_covers_every_route_that_accepts_json(container):
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
        ("gzip", gzip.compress(READING[:9], mtime=0) + gzip.compress(READING[9:], mtime=0)),
    ],
)
async def test_a_compressed_reading_is_stored_like_an_uncompressed_one(container, encoding, body):
    answer = await send(Caller(container.app), SINGLE, body, encoding)
    assert answer.status == 200, answer.body
    assert [reading.temp_tenths for reading in await stored(container)] == [301]


async def test_a_batch_of_lines_may_be_compressed(container):
    body = gzip.compress(READING + b"\n" + READING)
    answer = await send(Caller(container.app), BATCH, body, content_type="application/x-ndjson")
    assert (answer.status, answer.json()["accepted"]) == (200, 2)


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, br", "x" * 500])
async def test_another_encoding_is_refused_with_its_name(container, encoding):
    admin = await logged_in(container, "admin")
    for path, body in BODIES.items():
        answer = await send(admin, path, body, encoding)
        refusal = answer.status, answer.json()["code"]
        assert refusal == (415, "UNSUPPORTED_MEDIA_TYPE"), path
        message = answer.json()["message"]
        assert message.startswith(f"Content-Encoding {encoding[:100]} is not taken"), path
        assert "gzip" in message.removeprefix(f"Content-Encoding {encoding[:100]}"), path
        assert len(message) < 250, path


BROKEN = {
    "no gzip": READING,
    "another format": zlib.compress(READING),
    "cut": PACKED[:-1],
    "cut early": PACKED[:12],
    "wrong sum": PACKED[:-8] + b"\0" * 8,
    "more behind": PACKED + b"more",
    "many members": gzip.compress(b"") * 1000 + PACKED,
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_invalid_gzip_body_is_refused_with_the_reason(container, name):
    admin = await logged_in(container, "admin")
    for path in BODIES:
        answer = await send(admin, path, BROKEN[name])
        assert (answer.status, answer.json()["code"]) == (400, "INVALID_JSON"), path
        assert answer.json()["message"].startswith("the body cannot be read as gzip: "), path
        assert await stored(container) == [], path


async def test_a_body_that_is_too_large_when_decompressed_is_refused(container):
    admin = await logged_in(container, "admin")
    for path, body in BODIES.items():
        too_large = gzip.compress(b" " * LONGER.get(path, BODY_MAX_BYTES) + body)
        answer = await send(admin, path, too_large)
        assert (answer.status, answer.json()["code"]) == (413, "TOO_LARGE"), path


async def test_a_body_may_have_the_size_limit_when_decompressed(container):
    body = READING + b" " * (BODY_MAX_BYTES - len(READING))
    answer = await send(Caller(container.app), SINGLE, gzip.compress(body))
    assert answer.status == 200


@pytest.mark.parametrize("members", [1, 10])
def test_a_decompression_bomb_does_not_take_more_memory_than_a_body_may(members):
    bomb = gzip.compress(b" " * (50_000_000 // members)) * members
    tracemalloc.start()
    try:
        with pytest.raises(RequestEntityTooLarge):
            inflated(bomb, BODY_MAX_BYTES)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * BODY_MAX_BYTES


async def test_an_empty_body_is_refused_as_no_data_whatever_its_encoding(container):
    answer = await send(Caller(container.app), SINGLE, b"")
    assert (answer.status, answer.json()["code"]) == (400, "NO_DATA")


async def test_a_compressed_post_is_answered_by_quart(container, port, in_quart):
    sent = request(PACKED, GZIP | {"Connection": "close"})
    (answer,) = await ask(port, sent)
    assert answer.status == 200
    assert in_quart == [SINGLE]


async def test_a_gzip_body_that_its_length_has_cut_is_refused_with_the_cause(port):
    sent = request(PACKED, GZIP | {"Connection": "close", "Content-Length": str(len(PACKED) - 9)})
    (answer,) = await ask(port, sent)
    assert answer.status == 400
    assert answer.json()["message"].endswith(
        "it is truncated: the body is longer than Content-Length says"
    )
