"""A body that is longer than its Content-Length says: the post is answered, and the fault told."""

from __future__ import annotations

import pytest

from server.excess import is_excess
from tests.support.http import stored
from tests.support.serving import HELLO, ask, request

READING = b'{"temp_tenths": 301, "sensor_ok": true}'
CLOSE = {"Connection": "close"}
# A header that means nothing, but that sends a post to Quart.
WAYS = {"fast": {}, "by Quart": {"X-Firmware": "7"}}
# What ends a connection, and how.
LAST = {
    "1.0": ("1.0", {}),
    "kept 1.0": ("1.0", {"Connection": "keep-alive"}),
    "1.1": ("1.1", CLOSE),
}
TOLD = "the body is longer than Content-Length says"


def post(body, length, headers, version="1.1", target="/api/sensor_data"):
    """A post that says this of its length."""
    said = {} if length is None else {"Content-Length": str(length)}
    sent = request(body, headers | said, target, version)
    return sent if said else sent.replace(b"Content-Length: %d\r\n" % len(body), b"")


@pytest.mark.parametrize(
    "behind",
    [b"}", b'ok": true}', b'A"}', b"e", b"1", b" \r\n", b"\r\n}", b"\0", b'X "}\r\n', b"GET /\r\n"],
)
def test_what_cannot_begin_a_request_is_more_of_the_body(behind):
    assert is_excess(behind)


@pytest.mark.parametrize(
    "behind",
    [
        *(b"", b"\r", b"\r\n", b"\n\r\n", b"G", b"GET", b"GET ", b"GET /a?b={", b"GET / HTTP/1.1"),
        *(b"GET / HTTP/1.1\r", b"POST /a HTTP/1.0\r\nX: 1", b"\r\nM-SEARCH * HTTP/1.1\n", HELLO),
    ],
)
def test_empty_lines_and_the_next_request_are_not(behind):
    assert not is_excess(behind)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("behind", [b"xyz", b"\n{}", b'", "more": "\xc3\xa4"}\r\n\r\n'])
async def test_a_reading_that_is_whole_is_obeyed_and_who_sent_more_is_logged(
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
async def test_on_a_kept_connection_the_rest_is_a_bad_request_at_once(port, caplog, way):
    found = await ask(port, post(READING + b"xyz", len(READING), WAYS[way]))
    assert [answer.status for answer in found] == [200, 400]
    assert caplog.text.count("longer than its Content-Length") == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("behind", [b"\r\n", HELLO, b"\r\n" + HELLO, HELLO[:9]])
async def test_an_empty_line_or_a_request_behind_the_last_one_is_no_fault(
    port, caplog, way, behind
):
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
    assert answer.json()["message"].endswith(f": {TOLD}")
    assert await stored(container) == []
    assert caplog.text.count("longer than its Content-Length") == 1


@pytest.mark.parametrize("length", [0, None])
async def test_a_body_without_a_length_is_refused_with_the_cause(port, length):
    (answer,) = await ask(port, post(READING, length, {}, "1.0"))
    assert (answer.status, answer.json()["code"], answer.json()["message"]) == (
        400,
        "NO_DATA",
        TOLD,
    )


async def test_a_body_that_is_cut_on_a_kept_connection_is_refused_with_the_cause(port):
    found = await ask(port, post(READING, 20, {}))
    assert [answer.status for answer in found] == [400, 400]
    assert TOLD in found[0].json()["message"]


@pytest.mark.parametrize("target", ["/api/sensor_data/batch", "/auth/login"])
async def test_a_cut_body_of_any_route_is_refused_with_the_cause(port, target):
    headers = {"Host": "localhost"} | CLOSE
    (answer,) = await ask(port, post(b"[" + READING + b"]", 20, headers, target=target))
    assert answer.status == 400
    assert TOLD in answer.json()["message"]


async def test_a_row_that_is_cut_is_told_with_the_cause(port):
    headers = CLOSE | {"Content-Type": "application/x-ndjson"}
    body = READING + b"\n" + READING
    (answer,) = await ask(port, post(body, len(body) - 5, headers, target="/api/sensor_data/batch"))
    (error,) = answer.json()["errors"]
    assert (answer.status, error["index"]) == (200, 1)
    assert TOLD in error["message"]


async def test_a_body_that_is_bad_by_itself_is_not_said_to_be_long(port):
    (answer,) = await ask(port, post(READING[:-5], len(READING) - 5, CLOSE))
    assert answer.json()["message"] == "Input data was truncated"
