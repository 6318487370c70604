"""schemathesis on a new server: requests made from /openapi.json, answers compared with it.

`python -m tools.api_fuzzing --max-examples=1000` prints what it found; the tools of the tests must
be installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from http.client import HTTPConnection
from pathlib import Path

from server.http.openapi.tables import PASSWORD
from tools.api_pages import documented_server
from tools.process import REPOSITORY, run_command

CONFIG = REPOSITORY / "tests" / "clients" / "schemathesis.toml"
PROGRAM = REPOSITORY / ".venv" / "clients" / "python" / "bin" / "schemathesis"
REQUEST_S, START_S = 30, 60
DRILL_S = 4 * 3600
# It stops reading a stream by itself, so an answer of this route would prove nothing.
NOT_READ = "/api/sse/telemetry"
# Wrong passwords are part of the examples: nobody is locked out or slowed down.
SETTINGS = {
    "BAS_MAX_LOGIN_ATTEMPTS": "1000",
    "BAS_AUTH_ATTEMPTS_PER_15MIN": "100000",
    "BAS_MAX_CONCURRENT_SESSIONS": "100",
}


def fuzz(program: Path, folder: Path, *options: str, timeout_s: float) -> tuple[int, str]:
    """Run schemathesis with these options; its exit code and what it printed."""
    data_dir = folder / "data"
    server = documented_server(data_dir, **SETTINGS)
    for name in ("keeper", "spare"):
        create = ("create-user", name, "--role", "admin", "--password-stdin")
        done = run_command(*create, data_dir=data_dir, stdin=f"{PASSWORD}\n")
        assert done.returncode == 0, done.stderr
    with server:
        sessions = {
            variable: session_of(server.port, name)
            for variable, name in (("BAS_SESSION", "keeper"), ("BAS_SPARE", "spare"))
        }
        done = subprocess.run(
            [
                str(program),
                "--config-file",
                str(CONFIG),
                "run",
                f"{server.url}/openapi.json",
                f"--request-timeout={REQUEST_S}",
                "--generation-database=none",
                "--continue-on-failure",
                "--no-color",
                f"--exclude-path={NOT_READ}",
                *options,
            ],
            cwd=folder,
            env=os.environ | sessions | {"SCHEMATHESIS_HOOKS": str(CONFIG.with_name("hooks.py"))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    return done.returncode, done.stdout


def session_of(port: int, name: str) -> str:
    """The secret id of a new session of this user."""
    connection = HTTPConnection("127.0.0.1", port, timeout=START_S)
    body = f'{{"username": "{name}", "password": "{PASSWORD}"}}'
    connection.request("POST", "/auth/login", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    cookie = answer.headers["Set-Cookie"]
    connection.close()
    return str(cookie.partition("=")[2].partition(";")[0])


def main() -> int:
    """Run it with the command line's options."""
    with tempfile.TemporaryDirectory() as name:
        code, printed = fuzz(PROGRAM, Path(name), *sys.argv[1:], timeout_s=DRILL_S)
    sys.stdout.write(printed)
    return code


if __name__ == "__main__":
    sys.exit(main())
