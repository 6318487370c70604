"""docs/api/stream.md: each program prints every event."""

from __future__ import annotations

import http.client
import json
import queue
import re
import shutil
import subprocess
import sys
import threading

import pytest

from tests.support.micropython import EXECUTABLE, need_micropython
from tests.support.pages import run_here
from tools.api_fuzzing import session_of
from tools.api_pages import documented_server

PAGE = "docs/api/stream.md"
PYTHON = run_here(PAGE, "import json, sys, time, urllib.request")
NODE = run_here(PAGE, "const [url, session]")
MICROPYTHON = run_here(PAGE, "import json, socket, sys, time")
EVENT_S = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with documented_server(tmp_path_factory.mktemp("stream") / "data") as running:
        yield running


def post(port, temp_tenths):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"temp_tenths": temp_tenths, "sensor_ok": True, "device_id": "lab"})
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/api/sensor_data", body, headers)
    assert connection.getresponse().status == 200
    connection.close()


def command_of(language, folder, port, session):
    url = f"http://127.0.0.1:{port}"
    if language == "python":
        (folder / "main.py").write_text(PYTHON)
        return [sys.executable, "main.py", url, session]
    if language == "node":
        if shutil.which("node") is None:
            pytest.skip("node is not installed: the program in JavaScript does NOT run")
        (folder / "main.mjs").write_text(NODE)
        return ["node", "main.mjs", url, session]
    need_micropython()
    (folder / "main.py").write_text(MICROPYTHON)
    return [sys.executable, EXECUTABLE, "main.py", "127.0.0.1", str(port), session]


@pytest.mark.parametrize("language", ["python", "node", "micropython"])
def test_the_program_prints_every_event(server, tmp_path, language):
    session = session_of(server.port, "admin")
    program = subprocess.Popen(
        command_of(language, tmp_path, server.port, session),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    printed: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=lambda: [printed.put(line) for line in program.stdout])
    reader.start()
    try:
        wait_for(printed, r"^snapshot ")
        for number in range(200, 210):
            post(server.port, number)
        for number in range(200, 210):
            wait_for(
                printed, rf"^telemetry .*temp_tenths['\"]?: {number}\b|temp_tenths: {number}\b"
            )
    finally:
        program.kill()
        program.wait()
        reader.join()
        program.stdout.close()


def wait_for(printed, pattern):
    """Skip lines up to one with this pattern; queue.Empty if none comes."""
    while not re.search(pattern, printed.get(timeout=EVENT_S)):
        pass
