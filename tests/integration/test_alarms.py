"""Alarms of a server that is killed right after its answer, and the command that lists them."""

from __future__ import annotations

from pathlib import Path

from tests.integration.test_cli import run
from tests.support.stream import caller, eventually
from tools.process import ServerProcess


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
