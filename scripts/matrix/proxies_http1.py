"""What a proxy without TLS does with devices, uploads and streams, each over HTTP/1.1."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import sys
import time
from http.cookies import SimpleCookie
from pathlib import Path

from scripts.matrix.proxy_programs import running, version
from tools.process import ServerProcess

CLIENT = "127.0.0.9"  # another address than the proxy's
LIVE_S, IDLE_S = 20.0, 50.0


def call(port: int, path: str, body: object, **headers: str) -> tuple[int, bytes]:
    """Status and body of a POST of JSON from CLIENT."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=30, source_address=(CLIENT, 0)
    )
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, data, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def log_in(server: ServerProcess) -> str:
    """A session of the server's first admin."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = json.dumps({"username": "admin", "password": server.password})
    connection.request("POST", "/auth/login", body, {"Content-Type": "application/json"})
    cookies = SimpleCookie(connection.getresponse().getheader("Set-Cookie"))
    connection.close()
    return cookies["bas_session_id"].value


class Stream:
    """An open stream through the proxy, read as it comes."""

    def __init__(self, port: int, session: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        head = (
            f"GET /api/sse/telemetry HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Session-ID: {session}\r\n\r\n"
        )
        self._socket.sendall(head.encode())
        self.text = b""

    def until(self, text: bytes, seconds: float) -> float | None:
        """The seconds until this text comes; None if it does not, or the stream ends."""
        began = time.monotonic()
        while text not in self.text:
            left = began + seconds - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                piece = self._socket.recv(65536)
            except TimeoutError:
                return None
            if not piece:
                return None
            self.text += piece
        return time.monotonic() - began

    def close(self) -> None:
        self._socket.close()


def live(port: int, server: ServerProcess, session: str) -> list[str]:
    """Whether events come at once, and heartbeats keep the silent stream open."""
    stream = Stream(port, session)
    try:
        stream.until(b"event: snapshot", LIVE_S)
        post_stored(server, 777)
        took = stream.until(b'"temp_tenths":777', LIVE_S)
        beats = 0
        ends = time.monotonic() + IDLE_S
        while time.monotonic() < ends:
            stream.text = b""
            if stream.until(b"event: heartbeat", ends - time.monotonic()) is None:
                break
            beats += 1
        post_stored(server, 778)
        after = stream.until(b'"temp_tenths":778', LIVE_S)
    finally:
        stream.close()
    shown = "no: held" if took is None else f"yes, {took:.1f} s"
    return [shown, f"{beats} in {IDLE_S:.0f} s" if after is not None else "no: ends or held"]


def post_stored(server: ServerProcess, tenths: int) -> None:
    """Post a reading until it is stored: one that is not, on a slow disk, is no event."""
    for _ in range(10):
        reading = {"temp_tenths": tenths, "sensor_ok": True}
        if b'"stored"' not in call(server.port, "/api/sensor_data", reading)[1]:
            return
        print("not stored", file=sys.stderr)
        time.sleep(1)


def firmware(port: int) -> str:
    """Whether the firmware in the field obeys the answer."""
    return obeyed(socket.create_connection(("127.0.0.1", port), timeout=10), port)


def obeyed(connection: socket.socket, port: int) -> str:
    """Whether the firmware obeys the answer to its post on this connection."""
    body = b'{"temp_tenths": 235, "sensor_ok": true, "timestamp": 123456}'
    head = (
        f"POST /api/sensor_data HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with connection as sock:
        sock.sendall(head.encode() + body)
        answer = b""
        while piece := sock.recv(1024):
            answer += piece
    lower = answer.split(b"\r\n\r\n")[0].lower()
    if b"200 OK" not in answer:
        return f"no: {answer[:40]!r}"
    if b"content-length:" not in lower or b"transfer-encoding" in lower:
        return "no: without a length"
    return "yes"


def batch() -> bytes:
    """A large batch of readings."""
    rows = [
        {
            "device_id": "load",
            "temp_tenths": 235,
            "sensor_ok": True,
            "seq": number,
            "pad": "x" * 150,
        }
        for number in range(1000)
    ]
    return json.dumps(rows).encode()


def upload(port: int) -> str:
    """Whether large batches pass, plain and compressed."""
    data = batch()
    plain = call(port, "/api/sensor_data/batch", data)[0]
    packed = call(
        port, "/api/sensor_data/batch", gzip.compress(data), **{"Content-Encoding": "gzip"}
    )[0]
    return "yes" if (plain, packed) == (200, 200) else f"no: {plain}, {packed}"


def address(port: int, server: ServerProcess, session: str) -> str:
    """Whether the audit log has the client's address."""
    call(port, "/auth/login", {"username": "nobody", "password": "wrong"})
    return seen_address(server, session)


def seen_address(server: ServerProcess, session: str) -> str:
    """Whether the newest entry of the audit log has CLIENT's address."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    seen = ""
    for _ in range(50):  # a refusal is stored a moment later
        connection.request("GET", "/api/audit/recent?limit=1", headers={"X-Session-ID": session})
        entries = json.loads(connection.getresponse().read())
        seen = entries[0]["address"] if entries else ""
        if entries and entries[0]["action"] == "LOGIN_FAILURE" and seen == CLIENT:
            return "yes"
        time.sleep(0.1)
    return f"no: {seen}"


def row(name: str, which: str, lines: str, data: Path) -> list[str]:
    """All answers of one configuration."""
    with ServerProcess(data, BAS_TRUSTED_PROXIES="127.0.0.1") as server:
        session = log_in(server)
        try:
            with running(name, lines, server.port) as port:
                found = [
                    firmware(port),
                    upload(port),
                    address(port, server, session),
                    *live(port, server, session),
                ]
        except RuntimeError as error:
            found = [f"does not start: {error}"]
    return [version(name), which, *found]
