"""What HTTP libraries of controllers and gateways send, byte for byte, is stored and answered.

The bytes are written from the sources of each library, or recorded from it. Their packets are as
the library makes them: many write each header alone.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.http import BOUND_S, stored

BODY = b'{"temp_tenths": 236, "sensor_ok": true, "device_id": "attic"}'
LENGTH = b"Content-Length: 61\r\n"
START = b"POST /api/sensor_data HTTP/1.1\r\n"
JSON = b"Content-Type: application/json\r\n"

# Telegraf 1.32, outputs.http with `json_transformation` and `content_encoding = "gzip"`. Go's
# net/http chunks a body of which it does not know the length, and sorts the plugin's headers.
ROWS = gzip.compress(
    b'[{"device_id":"attic","sensor_ok":true,"temp_tenths":236,"timestamp":1790000000000}]', mtime=0
)
TELEGRAF = (
    b"POST /api/sensor_data/batch HTTP/1.1\r\nHost: bas.local:8080\r\n"
    b"User-Agent: Telegraf/1.32.0 Go/1.23.0\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Encoding: gzip\r\n" + JSON + b"Accept-Encoding: gzip\r\n\r\n",
    b"%x\r\n%b\r\n" % (10, ROWS[:10]),
    b"%x\r\n%b\r\n" % (len(ROWS) - 10, ROWS[10:]),
    b"0\r\n\r\n",
)
SENDERS = {
    # micropython-lib, requests 0.10 (`urequests` is its older name). Before that it spoke HTTP/1.0.
    # A dict of MicroPython has no order; the port is missing in Host.
    "MicroPython requests 0.10": (
        *(b"POST /api/sensor_data HTTP/1.1\r\n", b"Content-Length", b": ", b"61", b"\r\n"),
        *(b"Connection", b": ", b"close", b"\r\n", b"Host", b": ", b"bas.local", b"\r\n"),
        *(b"Content-Type", b": ", b"application/json", b"\r\n", b"\r\n", BODY),
    ),
    "MicroPython urequests 0.9": (
        *(b"POST /api/sensor_data HTTP/1.0\r\n", b"Host: bas.local\r\n", JSON),
        *(LENGTH, b"\r\n", BODY),
    ),
    # adafruit_requests 4.1 keeps the connection and sends no Connection header.
    "CircuitPython adafruit_requests 4.1": (
        *(b"POST", b" /", b"api/sensor_data", b" HTTP/1.1\r\n", b"Host", b": ", b"bas.local"),
        *(b"\r\n", b"User-Agent", b": ", b"Adafruit CircuitPython", b"\r\n"),
        *(JSON, LENGTH, b"\r\n", BODY),
    ),
    # arduino-esp32 3.0, HTTPClient with addHeader("Content-Type", "application/json").
    "Arduino HTTPClient 3.0": (
        START + b"Host: bas.local:8080\r\nUser-Agent: ESP32HTTPClient\r\n"
        b"Accept-Encoding: identity;q=1,chunked;q=0.1,*;q=0\r\nConnection: keep-alive\r\n"
        + JSON
        + LENGTH
        + b"\r\n",
        BODY,
    ),
    # ESPHome 2024.11, http_request.post with `json:` on ESP-IDF (esp_http_client).
    "ESPHome http_request 2024.11": (
        START + b"User-Agent: ESPHome/2024.11.0 (https://esphome.io)\r\nHost: bas.local:8080\r\n"
        b"Content-Type: application/json\r\n" + LENGTH + b"\r\n",
        BODY,
    ),
    # Tasmota 14: WebQuery URL POST [Content-Type:application/json] BODY, on ESP8266.
    "Tasmota WebQuery 14": (
        START + b"Host: bas.local:8080\r\nUser-Agent: ESP8266HTTPClient\r\n"
        b"Accept-Encoding: identity;q=1,chunked;q=0.1,*;q=0\r\nConnection: keep-alive\r\n"
        + JSON
        + LENGTH
        + b"\r\n"
        + BODY,
    ),
    "Telegraf outputs.http 1.32": TELEGRAF,
    # Recorded from got 12.6.1, with which Node-RED 4 sends `http request`.
    "Node-RED 4 (got 12.6.1)": (
        START + b"user-agent: got (https://github.com/sindresorhus/got)\r\n"
        b"content-type: application/json\r\ncontent-length: 61\r\nHost: bas.local:8080\r\n"
        b"Connection: keep-alive\r\n\r\n" + BODY,
    ),
}
# They close the connection after the answer.
CLOSING = {"MicroPython requests 0.10", "MicroPython urequests 0.9"}


@asynccontextmanager
async def connected(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(BOUND_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()


async def answered(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of the next answer, read by its length, as all these libraries do."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?mi)^content-length: (\d+)\r$", head)
    assert length, head
    return head, await reader.readexactly(int(length[1]))


# Telegraf, outputs.influxdb_v2 with `urls = ["http://bas.local:8080?tag=zone"]` and no token: the
# body is a reader of unknown length, so it is chunked; gzip is the default. Go cuts `Token `.
LINES = (
    b"cpu,cpu=cpu0,host=gateway usage_idle=97.2 1790000000000000000\n"
    b"mqtt,host=gateway,zone=attic\\ north humidity=41i,temperature=23.55 1790000000000000000\n"
    b"mqtt,host=gateway,zone=cellar temperature=12 1790000000000000000\n"
)


@pytest.mark.parametrize("encoding", [b"", b"gzip"])
async def test_telegraf_s_line_protocol_is_stored_once_and_answered_with_204(
    container, port, encoding
):
    body = gzip.compress(LINES, mtime=0) if encoding else LINES
    packets = (
        b"POST /api/v2/write?bucket=site&org=home&tag=zone HTTP/1.1\r\nHost: bas.local:8080\r\n"
        b"User-Agent: Telegraf/1.32.0 Go/1.23.0\r\nTransfer-Encoding: chunked\r\n"
        b"Authorization: Token\r\n"
        + (b"Content-Encoding: gzip\r\n" if encoding else b"")
        + b"Content-Type: text/plain; charset=utf-8\r\nAccept-Encoding: gzip\r\n\r\n",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
    )
    async with connected(port) as (reader, writer):
        for _ in range(2):  # an answer was lost
            for packet in packets:
                writer.write(packet)
                await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 204 "), head
    rows = await stored(container)
    found = {(row.device_id, row.temp_tenths, row.sensor_ok) for row in rows}
    assert found == {("attic north", 236, True), ("cellar", 120, True)}
    assert len(rows) == 2


@pytest.mark.parametrize("sender", SENDERS)
async def test_a_post_of_this_library_is_stored_and_its_answer_is_200_ok(container, port, sender):
    posts = 1 if sender in CLOSING else 2
    async with connected(port) as (reader, writer):
        for _ in range(posts):
            for packet in SENDERS[sender]:
                writer.write(packet)
                await writer.drain()
                await asyncio.sleep(0)
            head, body = await answered(reader)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
            assert b"transfer-encoding" not in head.lower()
            command = json.loads(body)
            command = command.get("commands", [command])[0]
            assert (command["heat_active"], command["setpoint_tenths"]) == (True, 230)
        if sender in CLOSING:
            assert await reader.read() == b""
    rows = await stored(container)
    assert {(row.device_id, row.temp_tenths, row.sensor_ok) for row in rows} == {
        ("attic", 236, True)
    }
    assert len(rows) == posts


@pytest.mark.parametrize("value", ["nan", "null", '"unavailable"'])
async def test_a_sensor_without_a_value_is_a_fault_and_is_answered_with_both_relays_off(
    container, port, value
):
    """ESPHome and Tasmota write such values into a template when a sensor is missing."""
    body = b'{"temp_tenths": %s, "sensor_ok": true}' % value.encode()
    packet = (
        START + b"Host: bas.local\r\n" + JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    async with connected(port) as (reader, writer):
        writer.write(packet)
        head, answer = await answered(reader)
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    command = json.loads(answer)
    assert (command["cool_active"], command["heat_active"]) == (False, False)
