"""What an import takes over beside the rows: setpoint, deadband, relays, the admin's password."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.config.config import ServerConfig
from tests.support import legacy
from tests.support.clock import ManualClock
from tests.support.commands import results, run
from tests.support.http import Caller, served
from tools.process import ServerProcess

COLD = {"setpoint_tenths": 180, "deadband_tenths": 20, "cool_active": 1, "state": "COOLING"}


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    return ServerConfig(data_dir=tmp_path / "data")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return legacy.empty(tmp_path / "bas_telemetry.db")


async def test_setpoint_deadband_and_relays_are_those_of_the_newest_readable_row(
    config: ServerConfig, old: Path, clock: ManualClock
) -> None:
    rows = [
        legacy.reading(1000),
        legacy.reading(3000, **COLD),
        legacy.reading(9, deadband_tenths=9999),
    ]
    legacy.insert(old, "telemetry", rows)
    output = "\n".join(results(run(config, "import-legacy", str(old))))
    assert "setpoint and deadband: 18.0 °C ± 2.0" in output
    assert "relays of device unknown: cooler on, heat on" in output
    async with served(config, clock) as container:
        device = Caller(container.app)
        status = (await device.get("/api/status?device_id=unknown")).json()
        assert (status["setpoint_tenths"], status["deadband_tenths"]) == (180, 20)
        assert status["cool_active"]
        # In the minimum time the cooler stays on at any temperature; a new zone's would be off.
        body = {"temp_tenths": 150, "sensor_ok": True}
        command = (await device.post("/api/sensor_data", body)).json()
        assert command["cool_active"]
    again = "\n".join(results(run(config, "import-legacy", str(old))))
    assert "setpoint and deadband: left alone (set here already)" in again
    assert "relays: left alone (set here already)" in again


def test_an_account_that_needs_another_name_is_named_and_makes_the_exit_code_3(
    config: ServerConfig, old: Path
) -> None:
    legacy.insert(old, "users", [legacy.user("anna"), legacy.user("Jürgen Müller")])
    done = run(config, "import-legacy", str(old))
    assert done.returncode == 3
    output = done.stdout + done.stderr
    assert "1 not copied (not a valid user name" in output
    assert "J\\xfcrgen M\\xfcller" in output
    assert "1 of 1 there" in output


async def test_the_admin_of_the_first_start_gets_the_existing_server_s_password_if_asked(
    config: ServerConfig, old: Path, clock: ManualClock
) -> None:
    legacy.insert(old, "users", [legacy.user("admin", "admin")])
    with ServerProcess(config.data_dir) as server:
        first = server.password
        assert first
    offered = "\n".join(results(run(config, "import-legacy", str(old))))
    assert "--replace-admin" in offered
    taken = "\n".join(results(run(config, "import-legacy", str(old), "--replace-admin")))
    assert "has the existing server's password now" in taken
    async with served(config, clock) as container:
        caller = Caller(container.app)
        for password, status in ((legacy.PASSWORD, 200), (first, 401)):
            body = {"username": "admin", "password": password}
            assert (await caller.post("/auth/login", body)).status == status
