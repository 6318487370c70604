"""The commands and settings of bas_server.py, run in a process as an operator runs them."""

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

from server.common.version import VERSION
from tests.support.stream import StreamClient, caller, eventually, log_in
from tools.process import (
    REPOSITORY,
    ServerProcess,
    clean_environment,
    run_command,
)

Result = subprocess.CompletedProcess[str]


def run(*arguments: str, data_dir: Path, stdin: str | bytes | None = "", **settings: str) -> Result:
    """Run a command with these settings; its output is decoded."""
    return run_command(
        *arguments, data_dir=data_dir, stdin=stdin or "", folder=data_dir.parent, **settings
    )


def refused(done: Result, code: int, *words: str) -> None:
    """Check that the command ended with this code and that its last line contains the words."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    *_, last = done.stderr.strip().splitlines()
    for word in words:
        assert word in last, done.stderr


def created(folder: Path, name: str, role: str, *more: str) -> None:
    arguments = ("create-user", name, "--role", role, *more, "--password-stdin")
    done = run(*arguments, data_dir=folder, stdin="correct horse\n")
    assert done.returncode == 0, done.stderr


def listed(folder: Path) -> list[str]:
    """The accounts as list-users shows them."""
    heading, *lines = run("list-users", data_dir=folder).stdout.splitlines()
    assert heading.startswith("NAME")
    return lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Path]]:
    """A running server, and the data folder that commands share with it."""
    folder = tmp_path_factory.mktemp("cli") / "data"
    with ServerProcess(folder) as running:
        yield running, folder


def test_help_names_every_command_and_every_setting(folder: Path) -> None:
    done = run("--help", data_dir=folder)
    assert done.returncode == 0
    for word in (
        "create-user",
        "set-password",
        "unlock-user",
        "list-users",
        "set-role",
        "tenants",
        "register-device",
        "simulate",
        "copy-store",
        "import-legacy",
        "verify-audit",
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


@pytest.mark.parametrize(
    ("closed", "printed"), [("<&-", True), ("2>&-", True), (">&-", False), ("<&- >&- 2>&-", False)]
)
def test_a_command_ends_well_although_a_standard_stream_is_closed(
    folder: Path, closed: str, printed: bool
) -> None:
    created(folder, "operator", "operator")
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "bas_server.py", "list-users"],
        cwd=REPOSITORY,
        env=clean_environment(BAS_DATA_DIR=str(folder)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ("operator" in done.stdout) == printed


def test_version_is_one_line(folder: Path) -> None:
    done = run("--version", data_dir=folder)
    assert (done.returncode, done.stdout) == (0, f"{VERSION}\n")


def test_users_are_created_and_listed(folder: Path) -> None:
    created(folder, "ada", "admin")
    created(folder, "bob", "read-only", "--tenant", "elsewhere")
    done = run("list-users", data_dir=folder)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            "NAME\tROLE\tTENANT\tSTATE\tFAILURES\tLAST LOG-IN",
            "ada\tadmin\tdefault\tactive\t0\tnever",
            "bob\tread-only\telsewhere\tactive\t0\tnever",
        ],
    )
    assert folder.stat().st_mode & 0o777 == 0o700


def test_an_account_is_changed_disabled_enabled_and_deleted(folder: Path) -> None:
    created(folder, "ada", "admin")
    created(folder, "bob", "operator")
    for arguments, said, line in (
        (("set-role", "bob", "read-only"), "bob is read-only now", "read-only\tdefault\tactive"),
        (("set-tenant", "bob", "elsewhere"), "tenant elsewhere", "read-only\telsewhere\tactive"),
        (("disable-user", "bob"), "bob is disabled", "read-only\telsewhere\tdisabled"),
        (("enable-user", "bob"), "bob is enabled", "read-only\telsewhere\tactive"),
    ):
        done = run(*arguments, data_dir=folder)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
        assert listed(folder)[1] == f"bob\t{line}\t0\tnever"
    done = run("delete-user", "bob", data_dir=folder)
    assert (done.returncode, done.stdout) == (0, "deleted bob; 0 sessions ended\n")
    assert len(listed(folder)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("set-role", "ada", "operator"),
        ("set-tenant", "ada", "elsewhere"),
        ("disable-user", "ada"),
        ("delete-user", "ada"),
    ],
)
def test_no_command_takes_the_last_admin_away(folder: Path, arguments: tuple[str, ...]) -> None:
    created(folder, "ada", "admin")
    refused(run(*arguments, data_dir=folder), 1, "last active admin of tenant default")
    assert listed(folder) == ["ada\tadmin\tdefault\tactive\t0\tnever"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("set-role", "bob", "admin"),
        ("set-tenant", "bob", "elsewhere"),
        ("disable-user", "bob"),
        ("enable-user", "bob"),
        ("delete-user", "bob"),
        ("end-sessions", "bob"),
    ],
)
def test_a_command_for_an_unknown_account_says_so(folder: Path, arguments: tuple[str, ...]) -> None:
    refused(run(*arguments, data_dir=folder), 1, "no user 'bob'")


def test_create_user_refuses_a_name_that_differs_in_case_alone(folder: Path) -> None:
    created(folder, "ada", "admin")
    arguments = ("create-user", "Ada", "--role", "operator", "--password-stdin")
    refused(run(*arguments, data_dir=folder, stdin="another horse\n"), 1, "exists", "Ada")


def test_create_user_refuses_a_name_that_exists(folder: Path) -> None:
    created(folder, "ada", "admin")
    done = run(
        *("create-user", "ada", "--role", "operator", "--password-stdin"),
        data_dir=folder,
        stdin="another horse\n",
    )
    refused(done, 1, "ada", "exists")
    assert listed(folder) == ["ada\tadmin\tdefault\tactive\t0\tnever"]


@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("\n", "12 to 128"),
        ("short", "12 to 128"),
        ("x" * 1025, "12 to 128"),
        ("Password1234", "most used passwords"),
    ],
)
def test_create_user_refuses_a_password_that_breaks_a_rule(
    folder: Path, password: str, said: str
) -> None:
    """ASVS 5.0 v5.0.0-6.2.1, 6.2.4."""
    arguments = ("create-user", "ada", "--role", "admin", "--password-stdin")
    refused(run(*arguments, data_dir=folder, stdin=password), 1, "password", said)


def test_create_user_refuses_a_password_that_is_not_utf_8(folder: Path) -> None:
    arguments = ("create-user", "ada", "--role", "admin", "--password-stdin")
    refused(run(*arguments, data_dir=folder, stdin=b"\xff\xfe\xfd 1234 5678"), 1)
    assert listed(folder) == []


def test_create_user_without_a_terminal_demands_password_stdin(folder: Path) -> None:
    done = run("create-user", "ada", "--role", "admin", data_dir=folder, stdin="correct horse\n")
    refused(done, 1, "--password-stdin")


def test_the_password_is_the_whole_line_without_its_line_end(folder: Path) -> None:
    password = "  spaces äöü and 🌡 count  "
    arguments = ("create-user", "ada", "--role", "admin", "--password-stdin")
    assert run(*arguments, data_dir=folder, stdin=f"{password}\r\n").returncode == 0
    with ServerProcess(folder) as server:
        assert asyncio.run(log_in(server.url, "ada", password))
        # A user exists already, so the server creates no first admin.
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
def test_wrong_arguments_end_with_exit_code_2_and_an_error(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    refused(run(*arguments, data_dir=folder), 2, "bas_server.py", "error")
    assert not folder.exists()


def test_set_password_refuses_an_unknown_user(folder: Path) -> None:
    done = run("set-password", "nobody", "--password-stdin", data_dir=folder, stdin="long enough")
    refused(done, 1, "nobody")


async def test_unlock_user_ends_a_lock_of_a_running_server_at_once(
    server: tuple[ServerProcess, Path],
) -> None:
    running, folder = server
    await asyncio.to_thread(created, folder, "shut-out", "read-only")
    wrong = {"username": "shut-out", "password": "wrong horse"}
    async with caller(running.url) as client:
        for status in (401, 401, 401, 401, 401, 423):
            assert (await client.post("/auth/login", json=wrong)).status_code == status
    done = await asyncio.to_thread(run, "unlock-user", "shut-out", data_dir=folder)
    assert (done.returncode, done.stdout) == (
        0,
        "shut-out was locked; 5 failed log-ins forgotten\n",
    )
    assert await log_in(running.url, "shut-out", "correct horse")


def test_unlock_user_says_that_a_name_is_no_account(folder: Path) -> None:
    done = run("unlock-user", "nobody", data_dir=folder)
    assert (done.returncode, done.stdout) == (
        0,
        "nobody was not locked; 0 failed log-ins forgotten\n"
        "there is no account nobody: a name that is none is locked like any other\n",
    )


@pytest.mark.parametrize("name", ["a b", "../x", ""])
def test_create_user_refuses_an_invalid_name(folder: Path, name: str) -> None:
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
def test_an_invalid_setting_ends_with_exit_code_2_and_the_name_of_the_setting(
    folder: Path, variable: str, value: str
) -> None:
    refused(run(data_dir=folder, **{variable: value}), 2, variable)
    assert not folder.exists()


@pytest.mark.parametrize("arguments", [(), ("list-users",)], ids=["serve", "list-users"])
def test_an_error_names_a_data_folder_that_is_not_writable(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    # A file instead of the parent folder also stops root, which ignores permissions.
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / "data"
    own = {"BAS_DATA_DIR": str(blocked), "BAS_HOST": "127.0.0.1", "BAS_PORT": "0"}
    done = run(*arguments, data_dir=tmp_path / "unused", **own)
    refused(done, 1)
    assert str(blocked) in done.stderr


def test_an_error_names_a_port_in_use_and_the_setting_to_change(folder: Path) -> None:
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
    (line,) = [one for one in await asyncio.to_thread(listed, folder) if one.startswith("live\t")]
    *about, last_login = line.split("\t")
    assert about == ["live", "read-only", "default", "active", "0"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", last_login)


async def test_set_password_ends_the_sessions_of_a_running_server_and_applies_at_once(
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


async def test_the_key_of_a_device_is_rotated_listed_revoked_and_deleted_beside_the_server(
    server: tuple[ServerProcess, Path],
) -> None:
    running, folder = server
    async with caller(running.url) as device:

        async def status(key: str) -> int:
            body = {"device_id": "kept", "temp_tenths": 230, "sensor_ok": True}
            headers = {"X-Device-Key": key}
            return (await device.post("/api/sensor_data", json=body, headers=headers)).status_code

        async def shown(*arguments: str) -> list[str]:
            done = await asyncio.to_thread(run, *arguments, data_dir=folder)
            assert done.returncode == 0, done.stderr
            return done.stdout.strip().splitlines()

        _, old = await shown("register-device", "kept")
        _, new, overlap = await shown("rotate-key", "kept")
        assert all(one.startswith("bas_") for one in (old, new))
        assert "the old key is valid until" in overlap
        assert [await status(one) for one in (old, new)] == [200, 200]

        async def has_ended() -> bool:
            return await status(old) == 401

        await eventually(has_ended, "the old key ends once the new one is used")
        heading, *lines = await shown("list-devices")
        (line,) = (one for one in lines if one.startswith("kept\t"))
        assert heading.split("\t") == ["DEVICE", "KEY", "LAST USE", "OLD KEY UNTIL"]
        assert re.fullmatch(r"kept\tyes\t20\d\d-\S+Z\t-", line)
        await shown("revoke-key", "kept")
        assert await status(new) == 401
        await shown("delete-device", "kept")
        assert not any(one.startswith("kept\t") for one in await shown("list-devices"))
    refused(run("rotate-key", "kept", data_dir=folder), 1, "Unknown device")


def test_register_device_refuses_an_invalid_device_id(folder: Path) -> None:
    for device_id in ("", "x" * 129):
        refused(run("register-device", device_id, data_dir=folder), 1, "device_id")


async def test_simulate_posts_until_it_gets_sigint(
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
        async with asyncio.timeout(60):
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
def test_simulate_refuses_an_invalid_url(folder: Path, url: str) -> None:
    refused(run("simulate", "--url", url, data_dir=folder), 1, "http://127.0.0.1:8080")


async def test_the_demo_posts_readings_of_four_zones(folder: Path) -> None:
    with ServerProcess(folder, "--demo", BAS_AUTH_ENABLED="0") as server:
        async with (
            caller(server.url) as client,
            await StreamClient.open(server.port) as stream,
        ):
            await stream.opening()
            live = await stream.live(10)
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


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"BAS_HOST": "0.0.0.0"}, ["devices need no key", "/metrics is open"]),
        (
            {"BAS_HOST": "0.0.0.0", "BAS_AUTH_ENABLED": "0"},
            ["log-in is off", "devices need no key", "/metrics is open"],
        ),
        ({"BAS_HOST": "0.0.0.0", "BAS_DEVICE_AUTH": "required", "BAS_METRICS": "off"}, []),
        ({"BAS_HOST": "127.0.0.1"}, []),
    ],
)
def test_a_server_warns_at_its_start_of_each_thing_that_is_open_to_the_network(
    folder: Path, settings: dict[str, str], said: list[str]
) -> None:
    """ASVS 5.0 v5.0.0-13.4.5."""
    with ServerProcess(folder, **settings) as server:
        assert server.terminate() == 0
    warnings = [line for line in server.lines if "anyone who reaches port" in line]
    assert [text in line for text, line in zip(said, warnings, strict=True)] == [True] * len(said)
    assert all(f"port {server.port} " in line for line in warnings)


async def test_a_server_without_authentication_allows_everything_and_refuses_log_ins(
    folder: Path,
) -> None:
    with ServerProcess(folder, BAS_AUTH_ENABLED="0") as server:
        async with caller(server.url) as client:
            assert (await client.get("/api/health")).json()["services"]["auth"] is False
            assert (await client.get("/api/telemetry")).json() == []
            body = {"setpoint_tenths": 222}
            assert (await client.post("/api/set_setpoint", json=body)).status_code == 200
            login = {"username": "admin", "password": "whatever it is"}
            assert (await client.post("/auth/login", json=login)).status_code == 503


def test_zones_go_out_and_in_as_csv_and_a_refused_line_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    assert run("register-device", "lab", data_dir=folder).returncode == 0
    out = run("export-zones", data_dir=folder)
    assert out.stdout.splitlines()[1:] == ["lab,,,23.0,1.0,,"]
    changed = out.stdout.replace("lab,,", "lab,Laboratory,")
    dry = run("import-zones", "-", "--dry-run", data_dir=folder, stdin=changed)
    assert "1 zones would change" in dry.stdout
    assert run("export-zones", data_dir=folder).stdout == out.stdout
    wrong = run("import-zones", "-", data_dir=folder, stdin=changed + "nowhere,x,,,,,\n")
    assert (wrong.returncode, "unknown device" in wrong.stdout) == (1, True)
    (tmp_path / "zones.csv").write_text(changed)
    done = run("import-zones", str(tmp_path / "zones.csv"), data_dir=folder)
    assert done.returncode == 0, done.stderr
    assert run("export-zones", data_dir=folder).stdout == changed
    audit = run("import-zones", str(tmp_path / "none.csv"), data_dir=folder)
    refused(audit, 1, "none.csv")
