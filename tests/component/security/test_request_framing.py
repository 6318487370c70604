"""No bytes of a body are taken for another request, whatever a proxy in front takes them for."""

from __future__ import annotations

import pytest

from tests.support.http import stored
from tests.support.serving import ask

READING = b'{"temp_tenths": 235, "sensor_ok": true}'
CHUNKED = b"27\r\n" + READING + b"\r\n0\r\n\r\n"
# A request that a stranger hides in or behind the body of another one.
CODING = b"Transfer-Encoding: chunked"
HIDDEN = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def post(*lines: bytes, body: bytes) -> bytes:
    head = [
        b"POST /api/sensor_data HTTP/1.1",
        b"Host: localhost",
        b"Content-Type: application/json",
    ]
    return b"\r\n".join([*head, *lines, b"", body])


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"Content-Length: 4", CODING), 200),
        ((CODING, b"Content-Length: 400"), 200),
        ((b"Content-Length: 0", CODING), 200),
        ((b"Transfer-Encoding: xchunked",), 501),
        ((b"Transfer-Encoding: chunked, identity",), 501),
        ((CODING, b"Transfer-Encoding: identity"), 501),
        ((b"Transfer-Encoding : chunked",), 400),
        ((b"Content-Length: 39", b"Content-Length: 40"), 400),
        ((b"Content-Length: 39, 40",), 400),
        ((b"Content-Length: +39",), 400),
        ((b"Content-Length: 0x27",), 400),
        ((b"Content-Length: 3_9",), 400),
        ((b"Content-Length: 3 9",), 400),
        ((b"Content-Length:",), 400),
        ((b"Content-Length: \xd9\xa3\xd9\xa9",), 400),
    ],
)
async def test_a_request_whose_end_is_in_doubt_is_the_last_one_of_its_connection(
    container, port, lines, status
):
    """ASVS 5.0.0 V4.2.1: against request smuggling; RFC 9112, section 6."""
    (answer,) = await ask(port, post(*lines, body=CHUNKED + HIDDEN))
    assert answer.status == status
    assert "close" in answer.headers["Connection"].lower()
    assert len(await stored(container)) == (status == 200)


async def test_a_request_in_chunks_may_be_followed_by_another_one(container, port):
    """ASVS 5.0.0 V4.2.1: only a request in doubt ends its connection."""
    first, second = await ask(port, post(CODING, body=CHUNKED + HIDDEN))
    assert (first.status, second.status) == (200, 200)
    assert b"bas_readings_stored_total 1.0" in second.body


@pytest.mark.parametrize(
    "tail", [b"27\r\n" + READING + b"\r\n0\r\nHost: evil.example\r\n", b"0\r\n"]
)
async def test_trailers_of_a_body_are_not_read_as_headers_or_as_a_request(port, tail):
    """ASVS 5.0.0 V4.2.1, V1.2.1."""
    body = tail + b"X-Session-ID: 0123456789abcdef\r\n\r\n"
    head = post(CODING, b"Connection: close", body=body)
    (answer,) = await ask(port, head)
    assert answer.status == (200 if READING in tail else 400)
