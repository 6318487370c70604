"""After kill -9 under load every acknowledged reading is stored; no relay switches too early."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.stream import StreamClient, caller, post_reading
from tools.process import ServerProcess, run_command

DEVICES = [f"device-{n}" for n in range(8)]
MIN_TIME_MS = 10_000
OPEN = {"BAS_AUTH_ENABLED": "0"}


@dataclass
class Device:
    """Posts numbered readings on one connection; even numbers are cold, odd numbers hot."""

    name: str
    answered: list[dict[str, Any]] = field(default_factory=list)
    attempted: int = 0
    started: float = 0.0  # the first hot reading is posted, which starts the cooler

    def body(self, number: int) -> dict[str, Any]:
        """The reading with this number, which is also its `timestamp` in ticks."""
        return {
            "device_id": self.name,
            "temp_tenths": 195 if number % 2 == 0 else 285,
            "sensor_ok": True,
            "seq": number,
            "timestamp": number,
        }

    def key(self, number: int) -> dict[str, str]:
        return {"Idempotency-Key": f"{self.name}/{number}"}

    async def post(self, client: httpx.AsyncClient, number: int) -> dict[str, Any]:
        """Post a reading; returns the command. Raises httpx.TransportError without a server."""
        self.attempted = number
        if number % 2 and not self.started:
            self.started = time.monotonic()
        answer = await client.post(
            "/api/sensor_data", json=self.body(number), headers=self.key(number)
        )
        assert answer.status_code == 200, answer.text
        self.answered.append(self.body(number))
        return dict(answer.json())

    async def post_until_cut(self, url: str, counted: itertools.count[int]) -> None:
        """Post as fast as the server answers, until the connection breaks."""
        async with caller(url) as client:
            for number in counted:
                try:
                    await self.post(client, number)
                except httpx.TransportError:
                    return


async def stored(client: httpx.AsyncClient, device_id: str) -> list[dict[str, Any]]:
    """Every stored reading of a device, oldest first."""
    rows: list[dict[str, Any]] = []
    query = {"device_id": device_id, "limit": "1000"}
    more = True
    while more:
        page = (await client.get("/api/telemetry/paginated", params=query)).json()
        rows += page["data"]
        query["start_after"], more = page["last_doc_id"], page["has_more"]
    return rows[::-1]


async def numbers(client: httpx.AsyncClient, device_id: str) -> list[int]:
    """The numbers of all stored readings of a device, sorted."""
    return sorted(row["device_ticks_ms"] for row in await stored(client, device_id))


def edges(rows: list[dict[str, Any]]) -> list[tuple[int, bool]]:
    """The times at which the cooler switched, with the new state."""
    found: list[tuple[int, bool]] = []
    running = False
    for row in rows:
        if row["cool_active"] != running:
            running = row["cool_active"]
            found.append((row["timestamp"], running))
    return found


@pytest.fixture
async def killed(tmp_path: Path) -> tuple[list[Device], Path]:
    """Eight devices whose server was killed while they posted, and the server's data folder."""
    devices = [Device(name) for name in DEVICES]
    with ServerProcess(tmp_path, **OPEN) as server:
        async with caller(server.url) as operator:
            for device in devices:
                await device.post(operator, 0)
            body = {"setpoint_tenths": 215, "deadband_tenths": 7}
            assert (await operator.post("/api/set_setpoint", json=body)).status_code == 200
            own = {"device_id": DEVICES[3], "setpoint_tenths": 199}
            assert (await operator.post("/api/set_setpoint", json=own)).status_code == 200
        load = asyncio.gather(
            *(device.post_until_cut(server.url, itertools.count(1)) for device in devices)
        )
        async with asyncio.timeout(120):
            while min(len(device.answered) for device in devices) < 40:
                assert not load.done()
                await asyncio.sleep(0.005)
            server.kill()
            await load
    return devices, tmp_path


async def test_a_killed_server_keeps_acknowledged_readings_setpoints_and_minimum_times(
    killed: tuple[list[Device], Path],
) -> None:
    devices, folder = killed
    with ServerProcess(folder, **OPEN) as server:
        async with caller(server.url) as client:
            for device in devices:
                # Only the reading that was in flight during the kill may or may not be stored.
                rows = await numbers(client, device.name)
                answered = [body["seq"] for body in device.answered]
                assert rows in (sorted(answered), sorted([*answered, device.attempted]))
            for name, setpoint in [(DEVICES[0], 215), (DEVICES[3], 199)]:
                config = (await client.get(f"/api/config?device_id={name}")).json()
                assert (config["setpoint_tenths"], config["deadband_tenths"]) == (setpoint, 7)
            await repeat_everything(client, devices)
            await switch_back_and_forth(client, devices)


async def repeat_everything(client: httpx.AsyncClient, devices: list[Device]) -> None:
    """Post every reading again, as after a lost answer: none is stored twice."""

    async def repeat(device: Device) -> None:
        for number in range(device.attempted + 1):
            answer = await client.post(
                "/api/sensor_data", json=device.body(number), headers=device.key(number)
            )
            assert answer.status_code == 200, answer.text
        assert await numbers(client, device.name) == list(range(device.attempted + 1))

    await asyncio.gather(*(repeat(device) for device in devices))


async def switch_back_and_forth(client: httpx.AsyncClient, devices: list[Device]) -> None:
    """Post readings that ask for the other state. The cooler, started just before the kill, runs
    on for its minimum time, and the readings before and after the kill show no early switch."""

    async def insist(device: Device) -> None:
        number = device.attempted + 2 - device.attempted % 2
        deadline = time.monotonic() + 150
        command = await device.post(client, number)
        # On a slow machine its minimum time may be over by now; the stored times are checked below.
        is_over = time.monotonic() - device.started >= MIN_TIME_MS / 1000
        assert command["cool_active"] or is_over, "the cooler forgot that it had started"
        while command["cool_active"]:
            assert time.monotonic() < deadline, "the cooler never stopped"
            number += 2
            command = await device.post(client, number)
            await asyncio.sleep(0.05)
        for hot in range(number + 1, number + 20, 2):
            assert not (await device.post(client, hot))["cool_active"]

    await asyncio.gather(*(insist(device) for device in devices))
    for device in devices:
        switched = edges(await stored(client, device.name))
        assert [on for _, on in switched] == [True, False]
        assert switched[1][0] - switched[0][0] >= MIN_TIME_MS


async def test_a_client_that_reconnects_after_a_kill_is_reset_and_gets_a_snapshot(
    tmp_path: Path,
) -> None:
    with ServerProcess(tmp_path, **OPEN) as server:
        async with (
            caller(server.url) as client,
            await StreamClient.open(server.port) as stream,
        ):
            await stream.opening()
            await post_reading(client, "zone", 222)
            await stream.live(1)
            server.kill()
            assert await stream.rest(2) == []
            assert stream.cut
    with ServerProcess(tmp_path, **OPEN) as server:
        async with await StreamClient.open(server.port, last_event_id=stream.last_id) as again:
            frames = await again.opening()
            assert frames["hello"].json["resume"] == "reset"
            (zone,) = frames["snapshot"].json["zones"]
            assert (zone["device_id"], zone["temp_tenths"]) == ("zone", 222)
            async with caller(server.url) as client:
                await post_reading(client, "zone", 223)
            assert (await again.live(1))[0].json["temp_tenths"] == 223


async def test_sessions_outlive_a_kill(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        async with caller(server.url) as client:
            login = {"username": "admin", "password": server.password}
            answer = await client.post("/auth/login", json=login)
            session = answer.cookies["bas_session_id"]
        server.kill()
    with ServerProcess(tmp_path) as server:
        async with caller(server.url, session) as client:
            assert (await client.get("/auth/status")).json()["user"]["username"] == "admin"


def test_a_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, **OPEN) as server:
        second = run_command(data_dir=tmp_path)
        assert second.returncode == 1
        assert str(tmp_path) in second.stderr
        assert "another server" in second.stderr
        assert "Traceback" not in second.stderr
        assert httpx.get(f"{server.url}/healthz", trust_env=False).status_code == 200
        server.kill()
    # A killed server leaves no lock behind.
    with ServerProcess(tmp_path, **OPEN) as server:
        assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200
