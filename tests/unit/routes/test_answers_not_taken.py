"""Devices that are gone before their answer: what it switched is not known, over a real socket."""

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
# The socket's end is a reset.
LINGER_NOT = struct.pack("ii", 1, 0)


class Device:
    """A device whose post waits in the server until it is let go on."""

    def __init__(self, container, port, clock):
        self._cache = container.control.batches._cache
        self._port, self._clock = port, clock
        self._caller = Caller(container.app)

    async def posts(self, temp_tenths, leaves=None):
        """Post, and `leaves` the connection before the answer; else the answer's relays."""
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
            # Whatever the connection's end was has come to the server before the answer is made.
            await asyncio.sleep(0.05)
        if leaves in ("reset", "closed"):
            return None
        answer = await reader.read()
        writer.close()
        return json.loads(answer.partition(b"\r\n\r\n")[2])

    async def runs(self):
        """Posts until its cooler may start."""
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
async def test_a_switch_whose_answer_was_not_taken_counts_from_the_next_answer(
    device, clock, leaves
):
    await device.posts(HOT, leaves)

    async def is_told():
        return not (await device.shown())["relays_known"]

    await eventually(is_told, "it is told")
    assert (await device.shown())["cool_active"]
    clock.advance(9)
    assert (await device.posts(COLD))["cool_active"]
    assert (await device.shown())["relays_known"]
    clock.advance(9.9)
    assert (await device.posts(COLD))["cool_active"]
    clock.advance(0.1)
    assert not (await device.posts(COLD))["cool_active"]


async def test_a_device_that_sends_no_more_and_reads_its_answer_has_heard_it(device, clock):
    assert (await device.posts(HOT, "half"))["cool_active"]
    await asyncio.sleep(0.7)  # in which a reset would have been seen
    assert (await device.shown())["relays_known"]
    clock.advance(10)
    assert not (await device.posts(COLD))["cool_active"]
