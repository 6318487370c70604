"""A body that is longer than its Content-Length: the post is answered, and the error reported."""

from __future__ import annotations

import pytest

from server.common.excess_body import is_excess
from tests.support.http import stored
from tests.support.serving import HELLO, ask, request

READING = b'{"temp_tenths": 301, "sensor_ok": true}'
CLOSE = {"Connection": "close"}
# A header without a meaning, which makes a post go to Quart.
WAYS = {"fast": {}, "by Quart": {"X-Firmware": "7"}}
# The ways to make a post the last one of its connection.
LAST = {
    "1.0": ("1.0", {}),
    "kept 1.0": ("1.0", {"Connection": "keep-alive"}),
    "1.1": ("1.1", CLOSE),
}
MESSAGE = "the body is longer than Content-Length says"


def post(body, length, headers, version="1.1", target="/api/sensor_data"):
    """A post with this Content-Length."""
    said = {} if length is None else {"Content-Length": str(length)}
    sent = request(body, headers | said, target, version)
    return sent if said else sent.replace(b"Content-Length: %d\r\n" % len(body), b"")


@pytest.mark.parametrize(
    "behind",
    [b"}", b'ok": true}', b'A"}', b"e", b"1", b" \r\n", b"\r\n}", b"\0", b'X "}\r\n', b"GET /\r\n"],
)
def test_bytes_that_cannot_start_a_request_are_more_of_the_body(behind):
    assert is_excess(behind)


@pytest.mark.parametrize(
    "behind",
    [
        *(b"", b"\r", b"\r\n", b"\n\r\n", b"G", b"GET", b"GET ", b"GET /a?b={", b"GET / HTTP/1.1"),
        *(b"GET / HTTP/1.1\r", b"POST /a HTTP/1.0\r\nX: 1", b"\r\nM-SEARCH * HTTP/1.1\n", HELLO),
    ],
)
def test_empty_lines_and_a_next_request_are_no_excess(behind):
    assert not is_excess(behind)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("behind", [b"xyz", b"\n{}", b'", "more": "\xc3\xa4"}\r\n\r\n'])
async def test_a_complete_reading_is_obeyed_and_the_excess_is_logged_with_its_sender(
    container, port, caplog, way, last, behind
):
    version, headers = LAST[last]
    sent = post(READING + behind, len(READING), WAYS[way] | headers, version)
    for _ in range(2):
        (answer,) = await ask(port, sent)
        assert answer.status == 200
    assert [reading.temp_tenths for reading in await stored(container)] == [301, 301]
    (said,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "a body from 127.0.0.1 is longer than its Content-Length says" in said


@pytest.mark.parametrize("way", WAYS)
async def test_the_excess_on_a_kept_connection_is_a_bad_request_at_once(port, caplog, way):
    found = await ask(port, post(READING + b"xyz", len(READING), WAYS[way]))
    assert [answer.status for answer in found] == [200, 400]
    assert caplog.text.count("longer than its Content-Length") == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("behind", [b"\r\n", HELLO, b"\r\n" + HELLO, HELLO[:9]])
async def test_an_empty_line_or_a_request_after_the_last_one_is_no_error(port, caplog, way, behind):
    (answer,) = await ask(port, post(READING + behind, len(READING), WAYS[way] | CLOSE))
    assert answer.status == 200
    assert "Content-Length" not in caplog.text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("length", [len(READING) - 5, 1])
async def test_a_body_that_its_length_has_cut_is_refused_with_the_cause(
    container, port, caplog, way, last, length
):
    version, headers = LAST[last]
    (answer,) = await ask(port, post(READING, length, WAYS[way] | headers, version))
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_JSON")
    assert answer.json()["message"].endswith(f": {MESSAGE}")
    assert await stored(container) == []
    assert caplog.text.count("longer than its Content-Length") == 1


@pytest.mark.parametrize("length", [0, None])
async def test_a_body_without_a_length_is_refused_with_the_cause(port, length):
    (answer,) = await ask(port, post(READING, length, {}, "1.0"))
    assert (answer.status, answer.json()["code"], answer.json()["message"]) == (
        400,
        "NO_DATA",
        MESSAGE,
    )


async def test_a_cut_body_on_a_kept_connection_is_refused_with_the_cause(port):
    found = await ask(port, post(READING, 20, {}))
    assert [answer.status for answer in found] == [400, 400]
    assert MESSAGE in found[0].json()["message"]


@pytest.mark.parametrize("target", ["/api/sensor_data/batch", "/auth/login"])
async def test_a_cut_body_on_any_route_is_refused_with_the_cause(port, target):
    headers = {"Host": "localhost"} | CLOSE
    (answer,) = await ask(port, post(b"[" + READING + b"]", 20, headers, target=target))
    assert answer.status == 400
    assert MESSAGE in answer.json()["message"]


async def test_a_cut_row_is_reported_with_the_cause(port):
    headers = CLOSE | {"Content-Type": "application/x-ndjson"}
    body = READING + b"\n" + READING
    (answer,) = await ask(port, post(body, len(body) - 5, headers, target="/api/sensor_data/batch"))
    (error,) = answer.json()["errors"]
    assert (answer.status, error["index"]) == (200, 1)
    assert MESSAGE in error["message"]


async def test_an_invalid_body_of_the_right_length_is_not_reported_as_too_long(port):
    (answer,) = await ask(port, post(READING[:-5], len(READING) - 5, CLOSE))
    assert answer.json()["message"] == "Input data was truncated"
