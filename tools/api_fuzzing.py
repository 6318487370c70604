"""schemathesis on a new server: requests made from /openapi.json, answers compared with it.

`python -m tools.api_fuzzing --max-examples=1000` shows what it finds; the tools of the tests must
be installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import IO

from server.http.openapi.tables import PASSWORD, READINGS
from tools.api_pages import create_documented
from tools.process import REPOSITORY, ServerProcess

CONFIG = REPOSITORY / "tests" / "clients" / "schemathesis.toml"
PROGRAM = REPOSITORY / ".venv" / "clients" / "python" / "bin" / "schemathesis"
REQUEST_S, START_S = 30, 60
DRILL_S = 12 * 3600
# It stops reading a stream by itself, so an answer of this route would prove nothing.
NOT_READ = "/api/sse/telemetry"
# Half of the time would go into hashes of passwords at their real cost.
SERVER = """
import runpy
from tests.support import hashing
hashing.install()
runpy.run_path("bas_server.py", run_name="__main__")
"""
# Wrong passwords are part of the examples: nobody is locked out or slowed down. No password is set
# twice, and comparing a new one with the former ones takes longer than all else.
SETTINGS = {
    "BAS_PASSWORD_HISTORY_COUNT": "0",
    "BAS_MAX_LOGIN_ATTEMPTS": "1000",
    "BAS_AUTH_ATTEMPTS_PER_15MIN": "100000",
    "BAS_MAX_CONCURRENT_SESSIONS": "100",
    "BAS_SESSION_TIMEOUT": "86400",
    "BAS_SESSION_ABSOLUTE": "86400",
    "BAS_NEW_ZONES_PER_HOUR": "20000",
}


def fuzz(
    program: Path, folder: Path, *options: str, timeout_s: float, output: IO[str] | None = None
) -> int:
    """Run schemathesis with these options; its exit code. It prints to `output`, or shows it."""
    create_documented(folder / "data")
    server = ServerProcess(folder / "data", program=("-c", SERVER), folder=REPOSITORY, **SETTINGS)
    with server:
        session = session_of(server.port, "admin")
        for name in ("keeper", "changer", "leaver"):
            new = {"username": name, "password": PASSWORD, "role": "admin"}
            _post(server.port, "/api/users", new, {"X-Session-ID": session})
        for key, operation in READINGS.items():
            # So that there are zones, a history and an alarm.
            _post(server.port, key.partition(" ")[2], operation.body)
        environment = {
            "BAS_URL": server.url,
            "BAS_PASSWORD": PASSWORD,
            "SCHEMATHESIS_HOOKS": str(CONFIG.with_name("hooks.py")),
        }
        return subprocess.run(
            [
                str(program),
                "--config-file",
                str(CONFIG),
                "run",
                f"{server.url}/openapi.json",
                f"--request-timeout={REQUEST_S}",
                "--generation-database=none",
                # Else most requests have an invented session, of which the answer is 401.
                "--generation-with-security-parameters=false",
                "--continue-on-failure",
                "--no-color",
                f"--exclude-path={NOT_READ}",
                *options,
            ],
            cwd=folder,
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        ).returncode


def session_of(port: int, name: str) -> str:
    """The secret id of a new session of this user."""
    cookie = _post(port, "/auth/login", {"username": name, "password": PASSWORD})
    return cookie.partition("=")[2].partition(";")[0]


def _post(port: int, path: str, body: object, headers: Mapping[str, str] | None = None) -> str:
    """Post JSON; the answer's cookie."""
    connection = HTTPConnection("127.0.0.1", port, timeout=START_S)
    sent = {"Content-Type": "application/json", **(headers or {})}
    connection.request("POST", path, json.dumps(body), sent)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    cookie = answer.headers["Set-Cookie"] or ""
    connection.close()
    return cookie


def main() -> int:
    """Run it with the command line's options."""
    with tempfile.TemporaryDirectory() as name:
        return fuzz(PROGRAM, Path(name), *sys.argv[1:], timeout_s=DRILL_S)


if __name__ == "__main__":
    sys.exit(main())
