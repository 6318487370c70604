"""Devices that hang up before their answer, over a real socket: the relays' states are unknown."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

import pytest

from tests.support.http import Caller
from tests.support.serving import request
from tests.support.stream import eventually

HOT, COLD = 300, 200
ZONE = "default", "unknown"
# Makes the socket's close a reset.
LINGER_NOT = struct.pack("ii", 1, 0)


class Device:
    """A device whose post waits in the server until the zone's lock is released."""

    def __init__(self, container, port, clock):
        self._cache = container.control.batches._cache
        self._port, self._clock = port, clock
        self._caller = Caller(container.app)

    async def posts(self, temp_tenths, leaves=None):
        """Posts, and hangs up before the answer if `leaves`; otherwise returns the command."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        sock = writer.get_extra_info("socket")
        async with self._cache.locked(*ZONE) as slot:
            body = json.dumps({"temp_tenths": temp_tenths, "sensor_ok": True}).encode()
            writer.write(request(body, {"Connection": "close"}))
            await eventually(lambda: slot.waiting == 2, "the post waits")
            if leaves == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            if leaves == "half":
                writer.write_eof()
            elif leaves:
                writer.close()
                await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])
            # The server sees the end of the connection before it makes the answer.
            await asyncio.sleep(0.05)
        if leaves in ("reset", "closed"):
            return None
        answer = await reader.read()
        writer.close()
        return json.loads(answer.partition(b"\r\n\r\n")[2])

    async def runs(self):
        """Posts until the cooler may start."""
        for _ in range(8):
            await self.posts(COLD)
            self._clock.advance(2)

    async def shown(self):
        return (await self._caller.get("/api/status")).json()


@pytest.fixture
async def device(container, port, clock):
    made = Device(container, port, clock)
    await made.runs()
    return made


@pytest.mark.parametrize("leaves", ["reset", "closed"])
async def test_the_minimum_time_of_a_switch_with_a_lost_answer_starts_with_the_next_answer(
    device, clock, leaves
):
    await device.posts(HOT, leaves)

    async def is_shown():
        return not (await device.shown())["relays_known"]

    await eventually(is_shown, "the zone shows it")
    assert (await device.shown())["cool_active"]
    clock.advance(9)
    assert (await device.posts(COLD))["cool_active"]
    assert (await device.shown())["relays_known"]
    clock.advance(9.9)
    assert (await device.posts(COLD))["cool_active"]
    clock.advance(0.1)
    assert not (await device.posts(COLD))["cool_active"]


async def test_a_device_that_half_closes_and_reads_its_answer_has_received_it(device, clock):
    assert (await device.posts(HOT, "half"))["cool_active"]
    await asyncio.sleep(0.7)  # long enough to notice a reset
    assert (await device.shown())["relays_known"]
    clock.advance(10)
    assert not (await device.posts(COLD))["cool_active"]
