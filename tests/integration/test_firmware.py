"""The firmware in the field, byte for byte: its requests, and the answers that it obeys."""

from __future__ import annotations

import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.readings import telemetry
from tools.process import ServerProcess

GIVES_UP_S = 5.0
PIECE = 1024
TICKS_MAX = 2**30


class Firmware:
    """A Pico W: one connection per reading, reads of 1 KB, and a simple check of the answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answer = b""

    def request(self, body: bytes) -> bytes:
        return (
            b"POST /api/sensor_data HTTP/1.1\r\n"
            b"Host: 127.0.0.1:%d\r\n"
            b"Content-Type: application/json\r\n"
            b"Content-Length: %d\r\n"
            b"Connection: close\r\n"
            b"\r\n" % (self.port, len(body))
        ) + body

    def post(
        self, temp_tenths: int | None, *, ok: bool = True, ticks: int = 123_456
    ) -> dict | None:
        """Post a reading; returns the command, or None if the firmware would not obey."""
        body = {"temp_tenths": temp_tenths, "sensor_ok": ok, "timestamp": ticks}
        return self.send(self.request(json.dumps(body).encode()))

    def send(self, *packets: bytes) -> dict | None:
        """Send these packets and read the answer as the firmware does; returns the command."""
        deadline = time.monotonic() + GIVES_UP_S
        self.answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=GIVES_UP_S) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for packet in packets:
                sock.sendall(packet)
            while not self._complete():
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                sock.settimeout(left)
                try:
                    piece = sock.recv(PIECE)
                except TimeoutError:
                    return None
                if not piece:
                    break
                self.answer += piece
        if b"200 OK" not in self.answer:
            return None
        return json.loads(self.answer.split(b"\r\n\r\n", 1)[1])

    def _complete(self) -> bool:
        head, separator, body = self.answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head.lower())
        return bool(separator and length and len(body) >= int(length[1]))


@pytest.fixture
def server(tmp_path):
    with ServerProcess(tmp_path) as running:
        yield running


@pytest.fixture
def pico(server):
    return Firmware(server.port)


def test_the_firmware_obeys_the_command(pico):
    assert pico.post(235) == {
        "cool_active": False,
        "heat_active": True,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
    }
    assert pico.post(300)["cool_active"] is True


def test_the_answer_has_a_length_and_no_encoding_and_closes_the_connection(pico):
    pico.post(235)
    head = pico.answer.split(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 200 ok\r\n")
    assert head.count(b"content-length:") == 1
    assert b"transfer-encoding" not in head
    assert b"content-encoding" not in head
    assert b"connection: close" in head


def test_a_failed_sensor_switches_the_relays_off_at_once(pico):
    assert pico.post(300)["cool_active"] is True
    command = pico.post(300, ok=False)
    assert (command["cool_active"], command["heat_active"]) == (False, False)


def test_a_failed_sensor_that_sends_null_switches_the_relays_off_at_once(pico):
    """The firmware in the field sends this body: a refusal would leave the compressor running."""
    assert pico.post(300)["cool_active"] is True
    command = pico.post(None, ok=False)
    assert command is not None, pico.answer
    assert (command["cool_active"], command["heat_active"]) == (False, False)
    assert pico.answer.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("body", [b'{"temp_tenths": 9999}', b'{"temp_tenths": "200 OK"}'])
def test_a_body_without_a_valid_reading_is_a_fault_and_switches_the_relays_off(pico, body):
    assert pico.post(300)["cool_active"] is True
    command = pico.send(pico.request(body))
    assert command is not None, pico.answer
    assert (command["cool_active"], command["heat_active"]) == (False, False)


def test_the_firmware_ignores_an_answer_that_refuses_the_body(pico):
    for body in (b"", b"{}", b"{", b"\xff"):
        assert pico.send(pico.request(body)) is None
        assert re.match(rb"HTTP/1\.1 400 Bad Request\r\n", pico.answer)


def test_a_request_that_arrives_in_single_bytes_is_understood(pico):
    body = b'{"temp_tenths": 300, "sensor_ok": true, "timestamp": 7}'
    whole = pico.request(body)
    assert pico.send(*(whole[i : i + 1] for i in range(len(whole))))["cool_active"] is True


def test_head_and_body_may_arrive_separately(pico):
    body = b'{"temp_tenths": 300, "sensor_ok": true, "timestamp": 7}'
    assert pico.send(pico.request(body)[: -len(body)], body)["cool_active"] is True


def test_ticks_are_stored_with_the_time_of_receipt_even_when_they_wrap(pico, server):
    began = time.time_ns() // 1_000_000
    for temp, ticks in ((201, TICKS_MAX - 2000), (202, TICKS_MAX - 1), (203, 0), (204, 2000)):
        assert pico.post(temp, ticks=ticks) is not None
    ended = time.time_ns() // 1_000_000
    rows = telemetry(server, server.password)
    kept = {row["temp_tenths"]: row["device_ticks_ms"] for row in rows}
    assert kept == {201: TICKS_MAX - 2000, 202: TICKS_MAX - 1, 203: 0, 204: 2000}
    assert all(began <= row["timestamp"] <= ended for row in rows)
    assert {row["device_id"] for row in rows} == {"unknown"}


def test_two_equal_readings_in_a_row_are_stored_as_two(pico, server):
    for _ in range(2):
        assert pico.post(235, ticks=5) is not None
    assert len(telemetry(server, server.password)) == 2


def test_an_acknowledged_reading_is_still_stored_after_the_server_was_killed(tmp_path):
    with ServerProcess(tmp_path) as server:
        pico = Firmware(server.port)
        for temp in range(200, 210):
            assert pico.post(temp) is not None
        password = server.password
        server.kill()
    with ServerProcess(tmp_path) as server:
        rows = telemetry(server, password)
    # Two readings of the same millisecond may be in either order.
    assert sorted(row["temp_tenths"] for row in rows) == list(range(200, 210))


def test_a_running_cooler_stays_on_after_the_server_was_killed(tmp_path):
    with ServerProcess(tmp_path) as server:
        assert Firmware(server.port).post(300)["cool_active"] is True
        server.kill()
    with ServerProcess(tmp_path) as server:
        # Cold enough to stop, but the minimum on time is not over; a new zone would be off.
        assert Firmware(server.port).post(200)["cool_active"] is True


def test_twenty_concurrent_picos_are_all_answered_in_time(server):
    def reads(number: int) -> list[bool]:
        pico = Firmware(server.port)
        return [pico.post(200 + number) is not None for _ in range(5)]

    with ThreadPoolExecutor(20) as picos:
        obeyed = [answer for one in picos.map(reads, range(20)) for answer in one]
    assert obeyed == [True] * 100
    assert len(telemetry(server, server.password)) == 100


def test_a_pico_that_disconnects_before_the_answer_does_not_disturb_others(pico, server):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
            sock.sendall(pico.request(b'{"temp_tenths": 210, "sensor_ok": true}'))
    assert pico.post(300)["heat_active"] is True


def test_a_stopped_server_refuses_the_connection_of_a_pico(server, pico):
    assert pico.post(235) is not None
    assert server.terminate() == 0
    with pytest.raises(ConnectionRefusedError):
        pico.post(235)
