"""Bytes that are not valid HTTP, sent to a real server: it still answers all other clients."""

from __future__ import annotations

import re
import socket
import time

import pytest

from tools.process import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("hostile")) as running:
        yield running


def talk(server, *pieces, wait_s=3.0):
    """Send the pieces and read until the server closes or sends nothing for `wait_s`."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait_s) as sock:
        try:
            for piece in pieces:
                sock.sendall(piece)
            while part := sock.recv(65536):
                received += part
        except (TimeoutError, ConnectionError):
            pass
    return received


def get(path=b"/healthz", close=True):
    return b"GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % (
        path,
        b"Connection: close\r\n" * close,
    )


def post(body, *lines):
    head = [
        b"POST /api/sensor_data HTTP/1.1",
        b"Host: localhost",
        b"Content-Type: application/json",
    ]
    return b"\r\n".join([*head, b"Connection: close", *lines, b"", body])


def assert_serves(server):
    """Check that the server answers other clients and that no reading was stored."""
    began = time.monotonic()
    assert talk(server, get()).startswith(b"HTTP/1.1 200 OK")
    assert b'"timestamp":0' in talk(server, get(b"/api/status"))
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("line", [b"GARBAGE", b"GET / HTTP/1.1"])
def test_a_malformed_request_is_answered_with_400_and_the_security_headers(server, line):
    answer = talk(server, line + b"\r\n\r\n").lower()
    assert answer.startswith(b"http/1.1 400 bad request")
    assert b"x-content-type-options: nosniff" in answer
    assert b"content-security-policy:" in answer


READING = b'{"temp_tenths": 235, "sensor_ok": true}'
RAW = {
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "nul": b"\x00" * 1000,
    "http 0.9": b"GET /\r\n\r\n",
    "http 1.0": b"GET /healthz HTTP/1.0\r\n\r\n",
    "http 9": b"GET / HTTP/9.9\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: y\r\n\r\n",
    "no path": get(b"?limit=1"),
    "other form": get(b"http://evil.example/api/status"),
    "no scheme": get(b"//evil.example/api/status"),
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "connect": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "authority": get(b"evil.example:443"),
    "percent": get(b"/api/%%/%zz/%00%ff"),
    "long path": get(b"/api/" + b"x" * 100_000),
    "long query": get(b"/api/status?device_id=" + b"x" * 14_000),
    "header without colon": b"GET / HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n",
    "header with nul": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n"
    b"Connection: close\r\n\r\n",
    "websocket": b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    "h2c": b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\n"
    b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: !!!\r\n\r\n",
    "h2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    "negative length": post(READING, b"Content-Length: -1"),
    "length of words": post(READING, b"Content-Length: ten"),
    "two lengths": post(READING, b"Content-Length: 39", b"Content-Length: 5"),
    "endless length": post(READING, b"Content-Length: " + b"9" * 30),
    "length too small": post(READING, b"Content-Length: 5"),
    "chunked garbage": post(b"zz\r\n" + READING, b"Transfer-Encoding: chunked"),
    "endless chunk": post(b"F" * 16 + b"\r\n" + READING, b"Transfer-Encoding: chunked"),
    "other coding": post(READING, b"Transfer-Encoding: gzip, chunked"),
    "too large in chunks": post(
        b"8000\r\n%s\r\n" % (b" " * 0x8000) * 9 + b"0\r\n\r\n", b"Transfer-Encoding: chunked"
    ),
    "too large": post(b" " * 300_000, b"Content-Length: 300000"),
    "too large told only": post(b"", b"Content-Length: 300000"),
}


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_not_valid_http_get_no_5xx_and_disturb_no_other_client(server, name):
    answer = talk(server, RAW[name], wait_s=1.5)
    assert not answer or answer.startswith((b"HTTP/1.", b"\x00\x00"))  # or HTTP/2 frames
    statuses = {int(status) for status in re.findall(rb"^HTTP/1\.\d (\d{3}) ", answer)}
    # RFC 9112, section 6.1: 501 is the answer to an unknown transfer coding.
    # RFC 9110, section 15.6.6: 505 is the answer to an unknown version.
    right = {("other coding", 501), ("http 9", 505)}
    assert all(status < 500 or (name, status) in right for status in statuses)
    assert_serves(server)


def test_a_header_of_ten_megabytes_is_refused(server):
    answer = talk(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", *[b"x" * 1_000_000] * 10)
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert_serves(server)


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /api/sta",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        post(READING[:10], b"Content-Length: 39"),
        post(b"27\r\n" + READING[:10], b"Transfer-Encoding: chunked"),
    ],
)
def test_other_clients_are_served_while_a_request_is_incomplete(server, begun):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
        sock.sendall(begun)
        assert_serves(server)
    assert_serves(server)


def test_a_hundred_incomplete_requests_delay_no_other_client(server):
    begun = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(100)]
    try:
        for sock in begun:
            sock.sendall(post(b"{", b"Content-Length: 39"))
        assert_serves(server)
    finally:
        for sock in begun:
            sock.close()
    assert_serves(server)


def test_a_request_whose_body_does_not_arrive_is_answered_with_408(server):
    answer = talk(server, post(READING[:10], b"Content-Length: 39"), wait_s=15)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"TIMEOUT"' in answer
    assert_serves(server)


def test_requests_sent_together_are_answered_in_order(server):
    paths = [b"/healthz", b"/api/nothing", b"/api/config", b"/auth/status"]
    together = b"".join(get(path, close=False) for path in paths[:-1]) + get(paths[-1])
    answer = talk(server, together)
    assert re.findall(rb"HTTP/1\.1 (\d{3}) ", answer) == [b"200", b"404", b"200", b"400"]
    assert answer.index(b'"alive"') < answer.index(b"NOT_FOUND") < answer.index(b"min_on_time_ms")


def test_malformed_requests_write_no_traceback_into_the_log(server):
    for sent in RAW.values():
        talk(server, sent, wait_s=0.05)
    assert_serves(server)
    assert "Traceback" not in server.output
