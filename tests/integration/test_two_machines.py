"""Two machines of two processes each: killed, frozen, cut off, with wrong clocks.

What was acknowledged is stored once, no minimum time is broken, and each stream gets every stored
reading once, or a reset. scripts/drills/two_machines.sh runs the long form.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.support.firestore import need_firestore
from tests.support.forms import is_long
from tests.support.machines import Machine, lacking, two_machines
from tests.support.stream import eventually
from tools.firestore_emulator import FirestoreEmulator, fresh_project
from tools.redis_server import RedisServer

ROUNDS = int(os.environ.get("BAS_DRILL_ROUNDS", "100"))
DEVICES = 6
MINIMUM_S = 10.0
# The firmware gives up after 5 s.
POST_S = 5.0
# How long it may take after the last disturbance until all is well again: a process that was killed
# often is started again after a minute at most.
WELL_S = 300.0
CLOCKS_S = (0.0, 0.4, 5.0, -5.0, 300.0, -300.0)


class Device:
    """A controller that posts every half second to either machine, and obeys.

    It repeats a reading, under its `seq`, until an answer says that it is stored.
    """

    def __init__(self, number: int, machines: list[Machine], chance: random.Random) -> None:
        self.name = f"d{number}"
        self._phase = 2 * number / DEVICES
        self.acknowledged: set[int] = set()
        # When (monotonic, in seconds) each reading was posted first.
        self.posted: dict[int, float] = {}
        self.wrong: list[str] = []
        self.switches = 0
        # The newest answers: when they were asked for, at which machine, and what they said.
        self._trail: deque[tuple[float, str, str]] = deque(maxlen=12)
        self._machines = machines
        self._chance = chance
        self._on = False
        # When the answer that switched the cooler may have been decided at the earliest.
        self._switched_at: float | None = None
        self._ticks = 0
        self._temp_tenths = 0

    async def run(self, ended: asyncio.Event) -> None:
        async with httpx.AsyncClient(timeout=POST_S, trust_env=False) as client:
            while not ended.is_set() or self._ticks not in self.acknowledged:
                await self._post(client)
                await asyncio.sleep(self._chance.uniform(0.2, 0.6))

    async def _post(self, client: httpx.AsyncClient) -> None:
        asked = time.monotonic()
        if not self._ticks or self._ticks in self.acknowledged:
            self._ticks += 1
            self.posted[self._ticks] = asked
            # A slow wave: a jump would not be believed.
            warm = (asked / 15 + self._phase) % 2 < 1
            self._temp_tenths = 246 if warm else 228
        ticks = self._ticks
        since = (
            {}
            if self._switched_at is None
            else {"relay_since_ms": round((asked - self._switched_at) * 1000)}
        )
        body = {
            "temp_tenths": self._temp_tenths,
            "sensor_ok": True,
            "timestamp": ticks,
            "seq": ticks,
            "device_id": self.name,
            "cool_active": self._on,
            **since,
        }
        url = self._chance.choice(self._machines).url
        try:
            answer = await client.post(f"{url}/api/sensor_data", json=body)
        except httpx.HTTPError as error:
            self._note(asked, url, repr(error))
            return
        self._note(asked, url, f"{body} {answer.text}")
        if answer.status_code != 200:
            self.wrong.append(f"{answer.status_code} {answer.text}")
            return
        command = answer.json()
        if command.get("stored", True):
            self.acknowledged.add(ticks)
        self._obey(command["cool_active"], command.get("stored", True), asked)

    def _note(self, asked: float, url: str, text: str) -> None:
        took_s = time.monotonic() - asked
        self._trail.append((round(asked, 2), url, f"{took_s:.2f} s {text}"))

    def _obey(self, on: bool, stored: bool, asked: float) -> None:
        if on == self._on:
            return
        # A process that reaches neither store nor Redis cuts at once: that is no minimum time.
        if self._switched_at is not None and (on or stored):
            since = time.monotonic() - self._switched_at
            if since < MINIMUM_S:
                self.wrong.append(f"{self.name} switched {on=} after {since:.2f} s")
                print(self.wrong[-1], *self._trail, sep="\n", flush=True)
        self.switches += 1
        self._on, self._switched_at = on, asked


class Dashboard:
    """A stream that resumes after each end, at any of its machines.

    `seen` are the readings since its last reset, which came at `reset_at` (monotonic, in seconds).
    """

    def __init__(self, machines: list[Machine], chance: random.Random) -> None:
        self.seen: set[tuple[str, int]] = set()
        self.reset_at = 0.0
        self._shown: set[tuple[str, int, bool]] = set()
        self.twice: list[tuple[str, int]] = []
        self.resets = self.resumes = 0
        self._machines = machines
        self._chance = chance
        self._last_id = ""

    async def run(self, ended: asyncio.Event) -> None:
        timeout = httpx.Timeout(5.0, read=4.0)
        # One client for all attempts: to make one reads the list of certificates.
        async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
            while not ended.is_set():
                try:
                    await self._follow(client, ended)
                except (httpx.HTTPError, OSError):
                    await asyncio.sleep(0.3)

    def missed(self, devices: Iterable[Device]) -> list[tuple[str, int]]:
        """The stored readings that it had to get since its last reset, and did not."""
        return [
            (device.name, ticks)
            for device in devices
            for ticks in sorted(device.acknowledged)
            if device.posted[ticks] > self.reset_at and (device.name, ticks) not in self.seen
        ]

    async def _follow(self, client: httpx.AsyncClient, ended: asyncio.Event) -> None:
        url = f"{self._chance.choice(self._machines).url}/api/sse/telemetry?snapshot=0"
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        async with client.stream("GET", url, headers=headers) as answer:
            event = event_id = data = ""
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "id":
                    event_id = value
                elif name == "data":
                    data = value
                elif not line:  # the end of a block: one that was cut off counts as never sent
                    if data:
                        self._take(event, json.loads(data))
                    # Also of a block without data: it gives an event that came before its id.
                    self._last_id = event_id or self._last_id
                    event = event_id = data = ""
                if ended.is_set():
                    return

    def _take(self, event: str, data: dict[str, object]) -> None:
        if event == "hello":
            self.resumes += data["resume"] == "recovered"
            if data["resume"] != "recovered":
                self.resets += 1
                self.reset_at = time.monotonic()
                self.seen.clear()
                self._shown.clear()
        elif event == "telemetry":
            key = str(data["device_id"]), int(str(data["device_ticks_ms"]))
            # A repeat of a reading that switches the cooler is announced too, with the new state.
            shown = *key, bool(data["cool_active"])
            if shown in self._shown:
                self.twice.append(key)
            self._shown.add(shown)
            self.seen.add(key)


async def disturb(machines: list[Machine], chance: random.Random) -> str:
    """One disturbance, and its end."""
    machine = chance.choice(machines)
    what = chance.choice(["kill", "freeze", "cut", "clock", "clock"])
    for_s = chance.uniform(0.5, 4)
    if what == "clock":
        machine.set_clock(chance.choice(CLOCKS_S))
        await asyncio.sleep(for_s)
    elif what == "cut":
        machine.cut()
        await asyncio.sleep(for_s)
        machine.mend()
    else:
        await eventually(lambda: machine.children, "a process was replaced")
        pid = chance.choice(machine.children)
        os.kill(pid, signal.SIGKILL if what == "kill" else signal.SIGSTOP)
        await asyncio.sleep(for_s)
        if what == "freeze":
            os.kill(pid, signal.SIGCONT)
    return what


async def stored_ticks(url: str, device_id: str) -> list[int]:
    """What the store has of a device."""
    ticks: list[int] = []
    async with httpx.AsyncClient(timeout=30, trust_env=False) as client:
        after = ""
        while True:
            query = f"device_id={device_id}&limit=1000" + (f"&start_after={after}" if after else "")
            page = (await client.get(f"{url}/api/telemetry/paginated?{query}")).json()
            ticks += [row["device_ticks_ms"] for row in page["data"]]
            if not page["has_more"]:
                return ticks
            after = page["last_doc_id"]


async def all_ready(machines: Iterable[Machine]) -> bool:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        for machine in machines:
            for _ in range(4):
                try:
                    answer = await client.get(
                        f"{machine.url}/readyz", headers={"Connection": "close"}
                    )
                except httpx.HTTPError:
                    return False
                if answer.status_code != 200:
                    return False
    return True


@pytest.mark.alone
@pytest.mark.skipif(not is_long(), reason="a drill: scripts/drills/two_machines.sh")
async def test_two_machines_that_are_disturbed_keep_what_they_promised(
    tmp_path: Path, redis: RedisServer, firestore: FirestoreEmulator
) -> None:
    need_firestore()
    if missing := lacking():
        pytest.fail(f"it needs {missing}")
    seed = int(os.environ.get("BAS_DRILL_SEED", random.SystemRandom().randrange(10**6)))
    chance = random.Random(seed)
    store_port = int(firestore.host.rpartition(":")[2])
    project = fresh_project()
    async with two_machines(tmp_path, [redis.port, store_port]) as machines:
        for machine in machines:
            await machine.start(
                BAS_PROCESSES="2",
                BAS_AUTH_ENABLED="0",
                REDIS_URL=f"redis://{machine.services}:{redis.port}/0",
                USE_EMULATORS="1",
                FIRESTORE_EMULATOR_HOST=f"{machine.services}:{store_port}",
                EMULATOR_REDIS_URL=f"redis://{machine.services}:{redis.port}/0",
                GOOGLE_CLOUD_PROJECT=project,
                USE_FIRESTORE_TELEMETRY="1",
                USE_FIRESTORE_AUTH="1",
                USE_FIRESTORE_AUDIT="1",
            )
        devices = [Device(number, machines, chance) for number in range(DEVICES)]
        # Two at each machine, and two that change machines.
        of = [machines[:1], machines[:1], machines[1:], machines[1:], machines, machines]
        boards = [Dashboard(some, chance) for some in of]
        posted, watched = asyncio.Event(), asyncio.Event()
        posting = [asyncio.create_task(device.run(posted)) for device in devices]
        watching = [asyncio.create_task(board.run(watched)) for board in boards]
        done: list[str] = []
        for _ in range(ROUNDS):
            await asyncio.sleep(chance.uniform(1, 4))
            done.append(await disturb(machines, chance))
            counts = [len(one.acknowledged) for one in devices]
            print(f"{len(done)} {done[-1]}: {counts}", flush=True)
        await asyncio.sleep(MINIMUM_S)
        posted.set()
        async with asyncio.timeout(WELL_S):
            await asyncio.gather(*posting)
        await eventually(lambda: all_ready(machines), "all is well again", WELL_S)
        for device in devices:
            kept = await stored_ticks(machines[0].url, device.name)
            assert device.acknowledged == set(kept), (seed, done)
            assert len(kept) == len(set(kept)), (seed, done)
            assert device.wrong == [], (seed, done)
        assert sum(device.switches for device in devices) > DEVICES
        with suppress(AssertionError):  # the lists below say more
            await eventually(
                lambda: not any(board.missed(devices) for board in boards), "streams are complete"
            )
        watched.set()
        await asyncio.gather(*watching)
        assert [board.missed(devices) for board in boards] == [[]] * len(boards), (seed, done)
        assert [board.twice for board in boards] == [[]] * len(boards), (seed, done)
        kept_all = sum(len(device.acknowledged) for device in devices)
        print(
            f"seed {seed}: {len(done)} rounds, {kept_all} readings acknowledged, all stored once;"
            f" {sum(device.switches for device in devices)} switches, no minimum time broken;"
            f" {len(boards)} streams with {sum(board.resumes for board in boards)} resumes and"
            f" {sum(board.resets for board in boards)} resets, all complete",
            flush=True,
        )
