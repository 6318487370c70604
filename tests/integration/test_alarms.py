"""Alarms of a server that is killed right after its answer, and the command that lists them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx

from bas_server import open_base
from server.alarms.targets_store import NoticeTargetsStore
from server.config.config import ServerConfig
from tests.integration.test_cli import run
from tests.support.notices import webhook
from tests.support.receivers import status, web_receiver
from tests.support.stream import caller, eventually
from tools.process import ServerProcess
from tools.redis_server import RedisServer

ZONES = [f"zone{number}" for number in range(6)]  # fewer than make an alarm of the site


async def test_a_killed_server_raises_the_alarm_of_a_stored_fault_and_a_command_lists_it(
    tmp_path: Path,
) -> None:
    folder, mode = tmp_path / "data", {"BAS_AUTH_MODE": "disabled"}
    fault = {"temp_tenths": None, "sensor_ok": False, "device_id": "attic"}
    with ServerProcess(folder, **mode) as server:
        async with caller(server.url) as client:
            assert (await client.post("/api/sensor_data", json=fault)).status_code == 200
        server.kill()
    with ServerProcess(folder, **mode) as server:
        async with caller(server.url) as client:

            async def is_listed() -> bool:
                page = (await client.get("/api/alarms", params={"state": "open"})).json()
                found = [(one["device_id"], one["kind"]) for one in page["data"]]
                return found == [("attic", "fault")]

            await eventually(is_listed, "the alarm is listed once")
        done = run("alarms", data_dir=folder)
        assert done.returncode == 0, done.stderr
        assert "fault" in done.stdout
        assert "'attic'" in done.stdout
    done = run("alarms", "--all", "--tenant", "other", data_dir=folder)
    assert "no alarms" in done.stdout


async def test_three_processes_that_race_raise_one_alarm_and_deliver_each_notice(
    tmp_path: Path, redis: RedisServer
) -> None:
    settings = {
        "BAS_AUTH_MODE": "disabled",
        "BAS_NOTICE_PRIVATE_ADDRESSES": "127.0.0.0/8",
        "REDIS_URL": redis.url,
    }
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(web_receiver())
        receiver.answers = [status(500), status(500)]  # what is sent first is sent again
        async with open_base(ServerConfig(data_dir=tmp_path)) as base:
            entry = base.stores.audit.entry("X", tenant_id="default", username="x", address="x")
            await NoticeTargetsStore(base.client).create_target(webhook(receiver.url), entry)
        servers = [stack.enter_context(ServerProcess(tmp_path, **settings)) for _ in range(3)]
        callers = [await stack.enter_async_context(caller(one.url)) for one in servers]

        await _post_to_all(callers, {"temp_tenths": 215, "sensor_ok": True})
        await _post_to_all(callers, {"temp_tenths": None, "sensor_ok": False})
        await eventually(lambda: _has(callers[1], "state=active", ZONES), "all alarms are active")
        await _post_to_all(callers, {"temp_tenths": 215, "sensor_ok": True})
        await eventually(lambda: _has(callers[2], "state=cleared", ZONES), "all are over")
        alarms = await _alarms(callers[0], "")
        assert sorted(one["device_id"] for one in alarms) == ZONES
        wanted = {(one["id"], state) for one in alarms for state in ("active", "cleared")}

        def delivered() -> dict[tuple[str, str], set[str]]:
            ids: dict[tuple[str, str], set[str]] = {}
            for posted in receiver.posted[2:]:  # the first two were answered with 500
                for one in posted.json()["notices"]:
                    ids.setdefault((one["alarm_id"], one["state"]), set()).add(one["id"])
            return ids

        await eventually(lambda: delivered().keys() >= wanted, "every notice arrives")
        assert {key: len(ids) for key, ids in delivered().items()} == dict.fromkeys(wanted, 1)


async def _post_to_all(callers: list[httpx.AsyncClient], reading: dict[str, Any]) -> None:
    """Post for each zone to each of the servers, all at once."""
    posts = [
        client.post("/api/sensor_data", json=reading | {"device_id": zone})
        for zone in ZONES
        for client in callers
    ]
    for answer in await asyncio.gather(*posts):
        assert answer.status_code == 200, answer.text


async def _alarms(client: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get(f"/api/alarms?{query}")).json()["data"]
    return found


async def _has(client: httpx.AsyncClient, query: str, zones: list[str]) -> bool:
    return {one["device_id"] for one in await _alarms(client, query)} == set(zones)
