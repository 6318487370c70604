"""Real servers under load: devices number their readings, browsers check that they get them all."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx

from tests.support.stream import USER_AGENT, WAIT_S, Frame, FrameSplitter, eventually
from tools import wire
from tools.process import ServerProcess

SETTLE_S = 90.0
GONE_S = 30.0
PAUSE_S = 0.01
# A browser reconnects after 1/20 of the stream's `retry` time, to keep the tests short.
RETRY_SPEEDUP = 20
TROUBLE = re.compile(r"Traceback|\d ERROR ")


class Device:
    """Posts its readings one after the other, as the firmware does: each on a new connection. It

    Reading n has the date `number_0_ms` + n milliseconds. `repeated` are the numbers of readings
    whose first post broke off; the server may have stored these too.
    """

    def __init__(self, name: str, servers: Sequence[ServerProcess], number_0_ms: int) -> None:
        self.name = name
        self._number_0_ms = number_0_ms
        self.servers = deque(servers)
        self.acknowledged = 0
        self.repeated: set[int] = set()
        self.slowest_s = 0.0

    async def post(self) -> None:
        """Post the next reading until it is acknowledged. Raises wire.Refused."""
        number = self.acknowledged + 1
        body = {"device_id": self.name, "temp_tenths": 230, "sensor_ok": True, "seq": number}
        body["timestamp"] = self._number_0_ms + number
        while self.acknowledged < number:
            began = time.monotonic()
            connection = wire.Connection(self.servers[0].port)
            try:
                _, answer = await connection.request(
                    "POST", "/api/sensor_data", json.dumps(body).encode(), close=True
                )
                if json.loads(answer).get("stored", True):
                    self.acknowledged = number
                else:
                    await asyncio.sleep(PAUSE_S)
            except (OSError, EOFError):
                self.repeated.add(number)
                self.servers.rotate(-1)
                await asyncio.sleep(PAUSE_S)
            finally:
                connection.close()
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)


class Browser:
    """An EventSource that, when its stream breaks, reconnects to the next server with its last id.

    Its page shows the snapshot that it began with and every reading since. It raises AssertionError
    for the first reading that is a duplicate, is out of its device's order, or follows a gap.
    """

    def __init__(self, site: Site, servers: Sequence[ServerProcess]) -> None:
        self._site = site
        self.servers = deque(servers)
        self.last_id = ""
        self.retry_s = 0.0
        self.resumes: list[str] = []
        self.said_bye = 0
        self.snapshot: dict[str, int] = {}
        self.readings: dict[str, list[int]] = {}
        self.begun = False
        self._awaits_new_snapshot = True
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start to read the stream."""
        self.begun = False
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop reading; raises the AssertionError of a reading that was wrong."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def go_to(self, server: ServerProcess) -> None:
        """Close the stream and open one at this server."""
        await self.close()
        while self.servers[0] is not server:
            self.servers.rotate(-1)
        self.open()

    async def _run(self) -> None:
        while True:
            with suppress(httpx.NetworkError, httpx.ProtocolError):
                await self._visit(self.servers[0])
            await asyncio.sleep(self.retry_s / RETRY_SPEEDUP)
            self.servers.rotate(-1)

    async def _visit(self, server: ServerProcess) -> None:
        known, splitter = self._site.acknowledged(), FrameSplitter()
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        url = f"{server.url}/api/sse/telemetry"
        async with self._site.client.stream("GET", url, headers=headers) as response:
            if response.status_code != 200:
                return
            async for piece in response.aiter_raw():
                for frame in splitter.feed(piece):
                    self._take(frame, known)

    def _take(self, frame: Frame, known: Mapping[str, int]) -> None:
        if frame.id is not None:
            self.last_id = frame.id
        if frame.retry is not None:
            self.retry_s = frame.retry / 1000
        if frame.event == "hello":
            self.resumes.append(frame.json["resume"])
            # A connection that breaks before its snapshot must not clear this.
            self._awaits_new_snapshot = self._awaits_new_snapshot or self.resumes[-1] != "recovered"
        elif frame.event == "snapshot":
            self._take_snapshot(frame, known)
        elif frame.event == "telemetry":
            self._show(frame.json["device_id"], self._number(frame.json))
        elif frame.event == "bye":
            self.said_bye += 1

    def _take_snapshot(self, frame: Frame, known: Mapping[str, int]) -> None:
        zones = {zone["device_id"]: self._number(zone) for zone in frame.json["zones"]}
        for device, number in known.items():
            assert zones.get(device, 0) >= number, f"{device}: {zones.get(device)} after {number}"
        if self._awaits_new_snapshot:
            self.snapshot, self.readings, self._awaits_new_snapshot = zones, {}, False
        self.begun = True

    def _number(self, shown: Mapping[str, int]) -> int:
        return shown["timestamp"] - self._site.number_0_ms

    def _show(self, device: str, number: int) -> None:
        shown, known = self.readings.setdefault(device, []), self.snapshot.get(device, 0)
        what = f"{device}: {number} after {shown[-3:]}, snapshot {known}, {self.resumes}"
        assert not shown or number > shown[-1], what
        # The snapshot may already contain the first readings of the stream.
        missed = set(range(shown[-1] + 1 if shown else known + 1, number))
        assert not missed, what
        shown.append(number)

    def newest(self, device: Device) -> int:
        """The number of the device's newest reading that the page shows."""
        shown = self.readings.get(device.name, [])[-1:]
        return max(self.snapshot.get(device.name, 0), *shown, 0)

    def complete(self) -> bool:
        """Whether its page shows every acknowledged reading; raises the error that stopped it."""
        assert self._task is not None
        if self._task.done():
            self._task.result()
        return all(self.newest(device) == device.acknowledged for device in self._site.devices)


@dataclass
class Site:
    """Servers that share one log, the devices that post to them, and the browsers that watch."""

    servers: Sequence[ServerProcess]
    client: httpx.AsyncClient
    number_0_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000 + wire.AHEAD_MS)
    devices: list[Device] = field(default_factory=list)
    browsers: list[Browser] = field(default_factory=list)

    def acknowledged(self) -> dict[str, int]:
        """The newest acknowledged reading of each device."""
        return {device.name: device.acknowledged for device in self.devices}

    def order(self, first: int) -> list[ServerProcess]:
        """All servers in their order, starting with this one."""
        return [*self.servers[first:], *self.servers[:first]]

    def at(self, server: ServerProcess) -> list[Browser]:
        """The browsers that read from this server or are connecting to it."""
        return [browser for browser in self.browsers if browser.servers[0] is server]

    def posting_to(self, server: ServerProcess) -> list[Device]:
        """The devices that post to this server or are connecting to it."""
        return [device for device in self.devices if device.servers[0] is server]

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """All devices post while the block runs."""
        over = asyncio.Event()

        async def post_on(device: Device) -> None:
            while not over.is_set():
                await device.post()
                await asyncio.sleep(PAUSE_S)

        async with asyncio.TaskGroup() as group:
            for device in self.devices:
                group.create_task(post_on(device))
            try:
                await self.more()
                yield
            finally:
                over.set()

    async def more(self, count: int = 20) -> None:
        """Wait until the servers have acknowledged `count` more readings of every device."""
        goals = {device.name: device.acknowledged + count for device in self.devices}
        await eventually(
            lambda: all(device.acknowledged >= goals[device.name] for device in self.devices),
            f"{count} more readings of each device",
            2 * WAIT_S,
        )

    async def open_browsers(self) -> None:
        """Open all browsers and wait until each has its snapshot."""
        for browser in self.browsers:
            browser.open()
        await eventually(lambda: all(one.begun for one in self.browsers), "all streams are open")

    async def close_browsers(self) -> None:
        """Close all browsers; raises the AssertionError of one that got a wrong reading."""
        ends = await asyncio.gather(
            *(browser.close() for browser in self.browsers), return_exceptions=True
        )
        for error in filter(None, ends):
            raise error

    async def all_complete(self) -> float:
        """Wait until every browser shows every reading; returns the seconds that took."""

        def check() -> bool:
            # A list, so that `complete` runs for every browser and raises the error of any.
            return all([browser.complete() for browser in self.browsers])

        return await eventually(check, "every browser shows everything", SETTLE_S)

    async def all_reset(self) -> float:
        """Wait until every browser was reset and shows every reading; returns the seconds."""
        return (
            await eventually(
                lambda: all(browser.resumes[-1] == "reset" for browser in self.browsers),
                "every browser was reset",
                SETTLE_S,
            )
            + await self.all_complete()
        )


@asynccontextmanager
async def open_site(
    *servers: ServerProcess, devices: int = 3, browsers: int = 4, expected: str = "(?!)"
) -> AsyncIterator[Site]:
    """Starts the servers; each gets this many devices and open browsers.

    At the end the servers must stop in time and have logged no error, except lines that match
    `expected`.
    """
    with ExitStack() as running:
        for server in servers:
            await asyncio.to_thread(running.enter_context, server)
        async with httpx.AsyncClient(
            headers={"User-Agent": USER_AGENT},
            timeout=WAIT_S,
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
        ) as client:
            site = Site(servers, client)
            for index in range(len(servers)):
                order = site.order(index)
                site.devices += [
                    Device(f"device-{index}-{n}", order, site.number_0_ms) for n in range(devices)
                ]
                site.browsers += [Browser(site, order) for _ in range(browsers)]
            try:
                await site.open_browsers()
                yield site
            finally:
                await site.close_browsers()
        began = time.monotonic()
        codes = await asyncio.gather(*(asyncio.to_thread(one.terminate) for one in servers))
        assert time.monotonic() - began < GONE_S
        assert not any(codes), [server.output for server in servers]
        for server in servers:
            trouble = [line for line in server.lines if TROUBLE.search(line)]
            assert [line for line in trouble if not re.search(expected, line)] == [], server.output
