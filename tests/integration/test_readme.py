"""README.md: what it tells a reader to type works, and answers what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.micropython import EXECUTABLE, need_micropython
from tests.support.pages import run_here
from tests.support.reader import Reader, Screen, bounded, need_environment
from tests.support.stream import caller, eventually, figures
from tools.process import REPOSITORY, ServerProcess

PAGE = "README.md"
DEMO = run_here(PAGE, "./scripts/run.sh --demo")
SAME_DEMO = run_here("CONTRIBUTING.md", "./scripts/run.sh --demo")
SEVERAL = run_here(PAGE, "BAS_PROCESSES=2 ./scripts/run.sh --demo")
POST = run_here(PAGE, "curl -X POST localhost:8080/api/sensor_data")
LOG_IN = run_here(PAGE, "curl -c jar -X POST localhost:8080/auth/login")
STREAM = run_here(PAGE, "curl -b jar -N localhost:8080/api/sse/telemetry")
SET = run_here(PAGE, "curl -b jar -X POST localhost:8080/api/set_setpoint")
OPENAPI = run_here(PAGE, "curl localhost:8080/openapi.json")
REGISTER = run_here(PAGE, "./scripts/run.sh register-device attic")
WITH_TENANT = run_here("docs/devices.md", "./scripts/run.sh register-device pico-7 --tenant acme")
SCRIPT = run_here(PAGE, "./scripts/run.sh ARGS")
PROGRAM = run_here(PAGE, "python bas_server.py ARGS")
SETTINGS = run_here("docs/settings.md", "python -m server.config.settings_text")
DEVICE = run_here(PAGE, "# MicroPython on a Pico W")
for same in ("./scripts/run.sh [ARGS]", "python bas_server.py ARGS"):
    run_here("docs/contract.md", same)
for same in ("python bas_server.py", "python bas_server.py --demo"):
    run_here("docs/contract.md", same)

TEXT = (REPOSITORY / PAGE).read_text(encoding="utf-8")
# What a Pico W has and the Unix build of MicroPython lacks, with a sensor that a test plays.
DEVICE_MODULES = {
    "machine.py": """
        class Pin:
            OUT = 1

            def __init__(self, number, mode, value):
                self.number = number

            def value(self, on):
                print(f"pin {self.number} {int(on)}")
        """,
    # micropython-lib has it as a package to download.
    "requests.py": """
        import json
        import socket


        class Response:
            def __init__(self, answer):
                head, _, self.body = answer.partition(b"\\r\\n\\r\\n")
                self.status_code = int(head.split()[1])

            def json(self):
                return json.loads(self.body)

            def close(self):
                pass


        def post(url, json, timeout):
            _, _, address, path = url.split("/", 3)
            host, port = address.split(":")
            body = globals()["json"].dumps(json).encode()
            connection = socket.socket()
            connection.settimeout(timeout)
            connection.connect(socket.getaddrinfo(host, int(port))[0][-1])
            connection.sendall(
                f"POST /{path} HTTP/1.0\\r\\nHost: {host}\\r\\nContent-Type: application/json\\r\\n"
                f"Content-Length: {len(body)}\\r\\n\\r\\n".encode() + body
            )
            answer = b""
            while piece := connection.recv(1000):
                answer += piece
            connection.close()
            return Response(answer)
        """,
    "sensor.py": """
        import sys


        def read_sensor():
            line = sys.stdin.readline().strip()
            return int(line) if line else None
        """,
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reader, ServerProcess]]:
    """A server on a fresh data folder, and its reader."""
    need_environment()
    reader = Reader(tmp_path_factory.mktemp("readme"))
    with reader.server("./scripts/run.sh") as server:
        reader.port = server.port
        yield reader, server


async def _demo_works(server: ServerProcess) -> None:
    async with caller(server.url) as client:
        page = await client.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")

        async def all_post() -> bool:
            return (await figures(client))["bas_readings_stored_total"] >= 4

        await eventually(all_post, "four zones have posted")


async def test_the_first_command_serves_a_page_and_prints_a_password_once(tmp_path: Path) -> None:
    need_environment()
    assert SAME_DEMO == DEMO
    with Reader(tmp_path).server(DEMO) as server:
        await _demo_works(server)
        assert server.password
        assert server.output.count(server.password) == 1
        assert server.terminate() == 0
    data = tmp_path / "data"
    assert (data / "demo" / "bas.db").exists()
    assert [path.name for path in data.iterdir()] == ["demo"], "a site's own data stay apart"
    assert data.stat().st_mode & 0o777 == 0o700


async def test_two_processes_share_a_redis(tmp_path: Path, redis) -> None:
    need_environment()
    emulators = {"USE_EMULATORS": "1", "EMULATOR_REDIS_URL": redis.url}
    with Reader(tmp_path).server(SEVERAL, **emulators) as server:
        assert len(server.children) == 2
        await _demo_works(server)
        assert server.terminate() == 0


def test_the_lines_of_curl_post_log_in_watch_and_command(running) -> None:
    reader, server = running
    answer = reader.types(POST)
    assert f"# {answer.strip()}\n" in TEXT
    assert reader.types(LOG_IN.replace("…", server.password))
    with reader.watches(STREAM) as screen:
        screen.until("event: snapshot")
        reader.types(POST)
        assert '"device_id":"attic"' in (screen.until("event: telemetry") + screen.until("data:"))
        assert json.loads(reader.types(SET))["setpoint_tenths"] == 215
        screen.until("event: setpoint")
        assert "215" in screen.until("data:")
    # Another device keeps the default; the one that was set is answered with the new setpoint.
    assert json.loads(reader.types(POST))["setpoint_tenths"] == 215
    paths = json.loads(reader.types(OPENAPI))["paths"]
    assert {"/api/sensor_data", "/api/set_setpoint", "/auth/login"} <= set(paths)


@pytest.mark.parametrize("path", ["/api/status", "/api/config", "/api/health", "/metrics"])
def test_a_stranger_may_read_what_the_page_says(running, path) -> None:
    reader, server = running
    reader.types(POST.replace("attic", "unknown"))
    assert f"`{path}`" in TEXT
    assert httpx.get(server.url + path, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/telemetry"),
        ("GET", "/api/sse/telemetry"),
        ("GET", "/api/audit/recent"),
        ("POST", "/api/set_setpoint"),
    ],
)
def test_a_stranger_gets_no_history_stream_or_audit_log_and_changes_nothing(
    running, method, path
) -> None:
    body = {"json": {"setpoint_tenths": 215}} if method == "POST" else {}
    answer = httpx.request(method, running[1].url + path, trust_env=False, **body)
    assert answer.status_code == 401


def test_a_device_key_is_printed_and_needed_from_then_on(tmp_path: Path) -> None:
    need_environment()
    reader = Reader(tmp_path)
    with reader.server("./scripts/run.sh") as server:
        _keys_work(reader, server)


def _keys_work(reader: Reader, server: ServerProcess) -> None:
    keys = {}
    for command, device_id in ((REGISTER, "attic"), (WITH_TENANT, "pico-7")):
        first, key = reader.types(command).splitlines()
        assert device_id in first
        keys[device_id] = key
    url = f"{server.url}/api/sensor_data"
    body = {"device_id": "attic", "temp_tenths": 230, "sensor_ok": True}
    assert httpx.post(url, json=body, trust_env=False).status_code == 401
    for name, key in keys.items():
        for headers in ({"Authorization": f"Bearer {key}"}, {"X-Device-Key": key}):
            sent = body | {"device_id": name}
            answer = httpx.post(url, json=sent, headers=headers, trust_env=False)
            assert answer.status_code == 200
    # Tenant acme has it, and tenant default does not.
    status = f"{server.url}/api/status?device_id=pico-7"
    assert httpx.get(status, trust_env=False).status_code == 404


def test_the_script_is_the_program_in_the_projects_environment(running) -> None:
    reader, _ = running
    ours, program = (one.replace("ARGS", "list-users") for one in (SCRIPT, PROGRAM))
    listed = reader.types(ours)
    assert listed == reader.types(program)
    assert "\nadmin\tadmin\tdefault" in listed


def test_the_table_of_settings_is_printed_by_the_command_that_the_page_names(running) -> None:
    table = running[0].types(SETTINGS)
    assert table.strip() in (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")


def test_the_device_in_20_lines_obeys_and_switches_the_cooler_off_without_an_answer(
    tmp_path: Path,
) -> None:
    need_micropython()
    assert EXECUTABLE is not None
    for name, text in DEVICE_MODULES.items():
        (tmp_path / name).write_text(textwrap.dedent(text))
    with ServerProcess(tmp_path / "data") as server:
        program = DEVICE.replace("bas.local:8080", f"127.0.0.1:{server.port}")
        assert program != DEVICE
        (tmp_path / "main.py").write_text("from sensor import read_sensor\n" + program)
        device = subprocess.Popen(
            [sys.executable, EXECUTABLE, str(tmp_path / "main.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        with bounded(device):
            assert device.stdin is not None
            assert device.stdout is not None
            screen = Screen(device.stdout)
            device.stdin.write("300\n")
            device.stdin.flush()
            assert re.findall(r"pin .*", screen.until("pin 16")) == ["pin 15 1", "pin 16 1"]
            server.kill()
            device.stdin.write("300\n")
            device.stdin.flush()
            assert screen.until("pin") == "pin 15 0\n"
