"""The commands and settings of bas_server.py, run as an operator runs them."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.version import VERSION
from tests.support.process import (
    REPOSITORY,
    ServerProcess,
    clean_environment,
)
from tests.support.stream import StreamClient, caller, eventually, log_in

Result = subprocess.CompletedProcess[str]


def run(*arguments: str, data_dir: Path, stdin: str | bytes | None = "", **settings: str) -> Result:
    """A command with these settings; what it printed is text."""
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "bas_server.py"), *arguments],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        timeout=20,
        check=False,
        cwd=data_dir.parent,
        env=clean_environment(**({"BAS_DATA_DIR": str(data_dir)} | settings)),
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def refused(done: Result, code: int, *words: str) -> None:
    """It ended with this exit code and one clear line that holds these words."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    *_, last = done.stderr.strip().splitlines()
    for word in words:
        assert word in last, done.stderr


def created(folder: Path, name: str, role: str, *more: str) -> None:
    arguments = ("create-user", name, "--role", role, *more, "--password-stdin")
    done = run(*arguments, data_dir=folder, stdin="correct horse\n")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Path]]:
    """A server at work, and the folder that commands share with it."""
    folder = tmp_path_factory.mktemp("cli") / "data"
    with ServerProcess(folder) as running:
        yield running, folder


def test_help_names_every_command_and_every_setting(folder: Path) -> None:
    done = run("--help", data_dir=folder)
    assert done.returncode == 0
    for word in (
        "create-user",
        "set-password",
        "list-users",
        "register-device",
        "simulate",
        "copy-store",
        "import-legacy",
    ):
        assert word in done.stdout
    for word in (
        "--demo",
        "--version",
        "BAS_PORT",
        "BAS_DATA_DIR",
        "REDIS_URL",
        "BAS_SSE_QUEUE_MAX",
    ):
        assert word in done.stdout
    assert not folder.exists()


def test_version_is_one_line(folder: Path) -> None:
    done = run("--version", data_dir=folder)
    assert (done.returncode, done.stdout) == (0, f"{VERSION}\n")


def test_users_are_created_and_listed(folder: Path) -> None:
    created(folder, "ada", "admin")
    created(folder, "bob", "read-only", "--tenant", "elsewhere")
    done = run("list-users", data_dir=folder)
    assert (done.returncode, done.stdout) == (
        0,
        "ada\tadmin\tdefault\nbob\tread-only\telsewhere\n",
    )
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_user_that_exists_is_not_created_again(folder: Path) -> None:
    created(folder, "ada", "admin")
    done = run(
        *("create-user", "ada", "--role", "operator", "--password-stdin"),
        data_dir=folder,
        stdin="another horse\n",
    )
    refused(done, 1, "ada", "exists")
    assert run("list-users", data_dir=folder).stdout == "ada\tadmin\tdefault\n"


@pytest.mark.parametrize("password", ["\n", "short", "x" * 1025])
def test_a_password_too_short_or_too_long_is_refused(folder: Path, password: str) -> None:
    arguments = ("create-user", "ada", "--role", "admin", "--password-stdin")
    refused(run(*arguments, data_dir=folder, stdin=password), 1, "password", "8 to 1024")


def test_a_password_that_is_no_text_is_refused_and_creates_nobody(folder: Path) -> None:
    arguments = ("create-user", "ada", "--role", "admin", "--password-stdin")
    refused(run(*arguments, data_dir=folder, stdin=b"\xff\xfe\xfd 1234 5678"), 1)
    assert run("list-users", data_dir=folder).stdout == ""


def test_without_a_terminal_a_password_is_asked_for_on_standard_input_alone(folder: Path) -> None:
    done = run("create-user", "ada", "--role", "admin", data_dir=folder, stdin="correct horse\n")
    refused(done, 1, "--password-stdin")


def test_the_password_is_everything_up_to_the_line_end(folder: Path) -> None:
    password = "  spaces äöü and 🌡 count  "
    arguments = ("create-user", "ada", "--role", "admin", "--password-stdin")
    assert run(*arguments, data_dir=folder, stdin=f"{password}\r\n").returncode == 0
    with ServerProcess(folder) as server:
        assert asyncio.run(log_in(server.url, "ada", password))
        # There was a user already: none is made up.
        assert server.password is None


@pytest.mark.parametrize(
    "arguments",
    [
        ("create-user", "ada", "--role", "root"),
        ("create-user", "ada"),
        ("no-such-command",),
        ("--no-such-option",),
        ("simulate", "--zones", "many"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(folder: Path, arguments: tuple[str, ...]) -> None:
    refused(run(*arguments, data_dir=folder), 2, "bas_server.py", "error")
    assert not folder.exists()


def test_a_password_of_nobody_cannot_be_set(folder: Path) -> None:
    done = run("set-password", "nobody", "--password-stdin", data_dir=folder, stdin="long enough")
    refused(done, 1, "nobody")


@pytest.mark.parametrize("name", ["a b", "../x", ""])
def test_a_name_that_is_none_is_refused(folder: Path, name: str) -> None:
    arguments = ("create-user", name, "--role", "admin", "--password-stdin")
    refused(run(*arguments, data_dir=folder, stdin="correct horse"), 1, "username")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BAS_PORT", "eighty"),
        ("BAS_LOG_LEVEL", "loud"),
        ("BAS_AUTH_ENABLED", "maybe"),
        ("BAS_SESSION_TIMEOUT", "9"),
        ("BAS_CORS_ORIGINS", "panel.example"),
        ("BAS_PROCESSES", "2"),
        ("BAS_AUTH_CONFIG", "no-such-file.json"),
    ],
)
def test_a_wrong_setting_is_named_with_exit_code_2(folder: Path, variable: str, value: str) -> None:
    refused(run(data_dir=folder, **{variable: value}), 2, variable)
    assert not folder.exists()


@pytest.mark.parametrize("arguments", [(), ("list-users",)], ids=["serve", "list-users"])
def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    # A file in the way stops even root, whom no permission stops.
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / "data"
    own = {"BAS_DATA_DIR": str(blocked), "BAS_HOST": "127.0.0.1", "BAS_PORT": "0"}
    done = run(*arguments, data_dir=tmp_path / "unused", **own)
    refused(done, 1)
    assert str(blocked) in done.stderr


def test_a_port_in_use_is_told_with_the_settings_to_change(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(data_dir=folder, BAS_HOST="127.0.0.1", BAS_PORT=port)
    refused(done, 1, port, "BAS_PORT")


def test_the_first_start_prints_the_admins_password_once(folder: Path) -> None:
    with ServerProcess(folder) as first:
        assert first.password is not None
        assert first.output.count(first.password) == 1
        assert asyncio.run(log_in(first.url, "admin", first.password))
        assert first.terminate() == 0
        assert first.output.count("password") == 1
    with ServerProcess(folder) as second:
        assert second.password is None
        assert "password" not in second.output
        assert asyncio.run(log_in(second.url, "admin", first.password))
    stored = b"".join(path.read_bytes() for path in folder.iterdir())
    assert first.password.encode() not in stored


async def test_a_user_created_while_the_server_runs_can_log_in(
    server: tuple[ServerProcess, Path],
) -> None:
    running, folder = server
    await asyncio.to_thread(created, folder, "live", "read-only")
    assert await log_in(running.url, "live", "correct horse")
    done = await asyncio.to_thread(run, "list-users", data_dir=folder)
    assert done.stdout == "admin\tadmin\tdefault\nlive\tread-only\tdefault\n"


async def test_a_password_set_while_the_server_runs_ends_sessions_and_holds_at_once(
    server: tuple[ServerProcess, Path],
) -> None:
    running, folder = server
    await asyncio.to_thread(created, folder, "changing", "read-only")
    session = await log_in(running.url, "changing", "correct horse")
    arguments = ("set-password", "changing", "--password-stdin")
    done = await asyncio.to_thread(run, *arguments, data_dir=folder, stdin="another horse")
    assert done.returncode == 0
    assert "1 sessions ended" in done.stdout
    async with caller(running.url, session) as client:
        assert (await client.get("/auth/status")).status_code == 401
        old = {"username": "changing", "password": "correct horse"}
        assert (await client.post("/auth/login", json=old)).status_code == 401
    assert await log_in(running.url, "changing", "another horse")


async def test_a_device_registered_while_the_server_runs_must_present_its_key(
    server: tuple[ServerProcess, Path],
) -> None:
    running, folder = server
    body = {"device_id": "keyed", "temp_tenths": 230, "sensor_ok": True}
    async with caller(running.url) as device:
        assert (await device.post("/api/sensor_data", json=body)).status_code == 200
        done = await asyncio.to_thread(run, "register-device", "keyed", data_dir=folder)
        assert done.returncode == 0
        first, key = done.stdout.strip().splitlines()
        assert "keyed" in first
        assert re.fullmatch(r"\S{20,}", key)
        assert (await device.post("/api/sensor_data", json=body)).status_code == 401
        for headers in ({"X-Device-Key": key}, {"Authorization": f"Bearer {key}"}):
            answer = await device.post("/api/sensor_data", json=body, headers=headers)
            assert answer.status_code == 200, answer.text


def test_a_device_id_that_is_none_is_refused(folder: Path) -> None:
    for device_id in ("", "x" * 129):
        refused(run("register-device", device_id, data_dir=folder), 1, "device_id")


async def test_simulate_posts_until_it_is_told_to_stop(
    server: tuple[ServerProcess, Path], folder: Path
) -> None:
    running, _ = server
    command = [sys.executable, str(REPOSITORY / "bas_server.py"), "simulate", "--zones", "3"]
    simulator = await asyncio.create_subprocess_exec(
        *command,
        *("--url", running.url),
        env=clean_environment(BAS_DATA_DIR=str(folder)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with caller(running.url) as client:

            async def posted() -> bool:
                return (await client.get("/api/status?device_id=sim-03")).status_code == 200

            await eventually(posted, "the third zone has posted")
        simulator.send_signal(signal.SIGINT)
        async with asyncio.timeout(5):
            said, complained = await simulator.communicate()
        assert simulator.returncode == 0, complained
        summary = re.search(rb"3 zones: (\d+) posts ok, 0 failed", said)
        assert summary, said
        assert int(summary[1]) >= 3
    finally:
        if simulator.returncode is None:
            simulator.kill()
            await simulator.wait()


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x"])
def test_simulate_refuses_an_address_that_is_none(folder: Path, url: str) -> None:
    refused(run("simulate", "--url", url, data_dir=folder), 1, "http://127.0.0.1:8080")


async def test_the_demo_moves(folder: Path) -> None:
    with ServerProcess(folder, "--demo", BAS_AUTH_ENABLED="0") as server:
        async with (
            caller(server.url) as client,
            await StreamClient.open(server.port) as stream,
        ):
            await stream.opening()
            live = await stream.live(10, 15)
            zones = {frame.json["device_id"] for frame in live}
            assert len(zones) == 4
            status = (await client.get("/api/status")).json()
            assert status["timestamp"] > 0
            assert status["state"] != "IDLE"
            for zone in zones:
                rows = (await client.get(f"/api/telemetry?device_id={zone}")).json()
                assert len(rows) >= 2
        assert await asyncio.to_thread(server.terminate) == 0
        assert "posts failed" not in server.output
        assert "Traceback" not in server.output


async def test_without_auth_everything_is_open_and_log_in_is_not_offered(folder: Path) -> None:
    with ServerProcess(folder, BAS_AUTH_ENABLED="0") as server:
        async with caller(server.url) as client:
            assert (await client.get("/api/health")).json()["services"]["auth"] is False
            assert (await client.get("/api/telemetry")).json() == []
            body = {"setpoint_tenths": 222}
            assert (await client.post("/api/set_setpoint", json=body)).status_code == 200
            login = {"username": "admin", "password": "whatever it is"}
            assert (await client.post("/auth/login", json=login)).status_code == 503
