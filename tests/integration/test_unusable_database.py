"""A file that is not a database: the server serves without it and says so, a command fails."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.stream import eventually
from tools.process import ServerProcess, run_command

HOT = {"temp_tenths": 300, "sensor_ok": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder whose bas.db is not a database."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "bas.db").write_bytes(b"no database\n" * 1000)
    return folder


def test_a_server_names_the_file_and_the_remedy_and_still_answers_devices(folder: Path) -> None:
    with ServerProcess(folder) as server, httpx.Client(base_url=server.url) as http:
        (line,) = [line for line in server.lines if "cannot use the database" in line]
        assert "ERROR" in line
        assert f"{folder / 'bas.db'}: file is not a database" in line
        remedy = f"stop the server and run `bas_server.py recover {folder / 'bas.db'}`"
        assert f"({remedy}, or restore a back-up)" in line
        answer = http.post("/api/sensor_data", json=HOT)
        assert (answer.status_code, answer.json()["stored"]) == (200, False)
        assert (answer.json()["cool_active"], answer.json()["heat_active"]) == (False, False)
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


async def test_a_server_creates_a_new_database_once_the_broken_file_is_moved_away(
    folder: Path,
) -> None:
    with ServerProcess(folder) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            (folder / "bas.db").rename(folder / "bad.db")

            async def is_ready() -> bool:
                return (await http.get("/readyz")).status_code == 200

            await eventually(is_ready, "it is ready")
            answer = (await http.post("/api/sensor_data", json=HOT)).json()
            assert (answer.get("stored", True), answer["heat_active"]) == (True, True)
            await eventually(lambda: server.password, "the first account")
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
