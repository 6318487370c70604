"""A controller as it is in the field: a new connection for each post, five seconds of patience, and
ears for `200 OK` alone."""

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
    """A post and what it was answered; times are monotonic seconds."""

    number: int
    began: float
    took_s: float
    command: dict[str, Any]

    @property
    def stored(self) -> bool:
        return bool(self.command.get("stored", True))


@dataclass
class Pico:
    """Obeys what it is told, and keeps when its cooler switched. What it posts has a number, which
    is kept with the reading: `timestamp` is no date.

    AssertionError where it is told nothing in time, or to switch something on that is not stored.
    """

    port: int
    name: str
    temp_tenths: int | None = COLD
    ok: bool = True
    key: str = ""
    cool: bool = False
    heat: bool = False
    said: list[Said] = field(default_factory=list)
    # When the cooler switched, to what, and whether a fault did it.
    switches: list[tuple[float, bool, bool]] = field(default_factory=list)

    async def post(self, temp_tenths: int | None = None, ok: bool | None = None) -> Said:
        """Post a reading, as the last one if nothing else is said."""
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
            self.switches.append((said.began + said.took_s, cool, not self.ok))
        self.cool, self.heat = cool, heat

    def since(self, moment: float) -> list[Said]:
        """What was posted from then on."""
        return [one for one in self.said if one.began >= moment]

    async def go_on(self, stop: asyncio.Event) -> None:
        """Post every PERIOD_S until stopped."""
        while not stop.is_set():
            await self.post()
            await asyncio.sleep(PERIOD_S)


@asynccontextmanager
async def posting(picos: Sequence[Pico]) -> AsyncIterator[None]:
    """All of them post meanwhile."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for pico in picos:
            group.create_task(pico.go_on(stop))
        try:
            yield
        finally:
            stop.set()


def usual_s(said: Sequence[Said]) -> float:
    """How long these took: all but a few, on a machine that has other things to do."""
    assert said
    return statistics.quantiles([0.0, *(one.took_s for one in said)], n=10)[-1]


def check_times(pico: Pico, *, stops_too: bool = True) -> None:
    """AssertionError if its cooler ran or rested too short, but for a fault."""
    for (before, _, _), (at, on, fault) in itertools.pairwise(pico.switches):
        # What lies between deciding and hearing of it.
        if on or (stops_too and not fault):
            assert at - before > MIN_S - 0.5, f"{pico.name} switched after {at - before:.1f} s"
