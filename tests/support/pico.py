"""A controller as in the field: it opens a connection for each post, waits five seconds for the
answer, and accepts nothing but `200 OK`."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 5.0
PERIOD_S = 0.1
HOT, COLD = 300, 200
MIN_S = 10.0

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Said:
    """A post and its answer; times are monotonic seconds."""

    number: int
    began: float
    took_s: float
    command: dict[str, Any]

    @property
    def stored(self) -> bool:
        return bool(self.command.get("stored", True))


@dataclass
class Pico:
    """Obeys the commands that it gets and records when its cooler switched. Each reading has a
    number, which the server stores with it: `timestamp` is not a date here.

    AssertionError if a post has no answer in time, or if a command switches a relay on although
    the reading was not stored.
    """

    port: int
    name: str
    temp_tenths: int | None = COLD
    ok: bool = True
    key: str = ""
    cool: bool = False
    heat: bool = False
    said: list[Said] = field(default_factory=list)
    # The post at which the cooler switched, to which state, and whether because of a fault.
    switches: list[tuple[Said, bool, bool]] = field(default_factory=list)

    async def post(self, temp_tenths: int | None = None, ok: bool | None = None) -> Said:
        """Post a reading; a value that is not given is that of the last reading."""
        self.temp_tenths = self.temp_tenths if temp_tenths is None else temp_tenths
        self.ok = self.ok if ok is None else ok
        number = next(_numbers)
        body = {"device_id": self.name, "temp_tenths": self.temp_tenths, "sensor_ok": self.ok}
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            answer = await self._ask(json.dumps(body | {"timestamp": number}).encode())
        took_s = time.monotonic() - began
        assert b"200 OK" in answer, answer
        said = Said(number, began, took_s, json.loads(answer.partition(b"\r\n\r\n")[2]))
        self._obey(said)
        return said

    async def _ask(self, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = ["POST /api/sensor_data HTTP/1.1", "Host: x", "Content-Type: application/json"]
        lines += [f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"X-Device-Key: {self.key}"] if self.key else []
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            return await reader.read()
        finally:
            writer.close()

    def _obey(self, said: Said) -> None:
        self.said.append(said)
        cool, heat = said.command["cool_active"], said.command["heat_active"]
        if not said.stored:
            assert self.cool or not cool, f"{self.name} was started unstored"
            assert self.heat or not heat, f"{self.name}'s heat was switched on unstored"
        if cool != self.cool:
            self.switches.append((said, cool, not self.ok))
        self.cool, self.heat = cool, heat

    def since(self, moment: float) -> list[Said]:
        """The posts that began at this moment or later."""
        return [one for one in self.said if one.began >= moment]

    async def go_on(self, stop: asyncio.Event) -> None:
        """Post every PERIOD_S until stopped."""
        while not stop.is_set():
            await self.post()
            await asyncio.sleep(PERIOD_S)


@asynccontextmanager
async def posting(picos: Sequence[Pico]) -> AsyncIterator[None]:
    """All of them post while the block runs."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for pico in picos:
            group.create_task(pico.go_on(stop))
        try:
            yield
        finally:
            stop.set()


def usual_s(said: Sequence[Said]) -> float:
    """The third quartile of their durations: the slower ones are due to a busy machine."""
    assert said
    return statistics.quantiles([0.0, *(one.took_s for one in said)], n=4)[-1]


def check_times(pico: Pico, *, stops_too: bool = True) -> None:
    """AssertionError if its cooler switched before its minimum time, unless a fault did it."""
    for (before, _, _), (after, on, fault) in itertools.pairwise(pico.switches):
        # The server decides between a post and its answer, however long that takes.
        apart_s = after.began + after.took_s - before.began
        if on or (stops_too and not fault):
            assert apart_s > MIN_S - 0.1, f"{pico.name} switched after {apart_s:.1f} s"
