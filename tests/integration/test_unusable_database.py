"""A database that cannot be used: the server serves without it and says so, a command fails."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.process import ServerProcess, run_command
from tests.support.stream import eventually

HOT = {"temp_tenths": 300, "sensor_ok": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder whose database is none."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "bas.db").write_bytes(b"no database\n" * 1000)
    return folder


def test_a_server_says_which_file_and_what_to_do_and_answers_devices(folder: Path) -> None:
    with ServerProcess(folder) as server, httpx.Client(base_url=server.url) as http:
        (line,) = [line for line in server.lines if "Cannot use the database" in line]
        assert "ERROR" in line
        assert f"{folder / 'bas.db'}: file is not a database" in line
        assert "(move a back-up into its place, or move it away for a new one)" in line
        told = http.post("/api/sensor_data", json=HOT)
        assert (told.status_code, told.json()["stored"]) == (200, False)
        assert (told.json()["cool_active"], told.json()["heat_active"]) == (False, False)
        ready = http.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["store"]) == (503, "STORE_UNAVAILABLE")
        assert http.get("/healthz").status_code == 200
        assert http.get("/").status_code == 200
        status = http.get("/api/status")
        assert (status.status_code, status.json()["code"]) == (503, "STORE_UNAVAILABLE")
        assert server.password is None
        assert server.terminate() == 0
    assert "Traceback" not in server.output
    assert (folder / "bas.db").read_bytes() == b"no database\n" * 1000


async def test_once_the_file_is_moved_away_the_server_has_a_new_one_and_stores(
    folder: Path,
) -> None:
    with ServerProcess(folder) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            (folder / "bas.db").rename(folder / "bad.db")

            async def is_ready() -> bool:
                return (await http.get("/readyz")).status_code == 200

            await eventually(is_ready, "it is ready", 10)
            told = (await http.post("/api/sensor_data", json=HOT)).json()
            assert (told.get("stored", True), told["heat_active"]) == (True, True)
            await eventually(lambda: server.password, "there is an account", 10)
        assert server.terminate() == 0
    assert "readings are stored again" in server.output


@pytest.mark.parametrize(
    "arguments", [("list-users",), ("register-device", "lab"), ("set-password", "x")]
)
def test_a_command_ends_with_1_and_names_the_file(folder: Path, arguments: tuple[str, ...]) -> None:
    more = ("--password-stdin",) if arguments[0] == "set-password" else ()
    done = run_command(*arguments, *more, data_dir=folder, stdin="correct horse\n")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    *_, last = done.stderr.splitlines()
    assert f"{folder / 'bas.db'}: file is not a database" in last
