"""Runs the commands that copy data, with the settings of a ServerConfig."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

from server.config.config import ServerConfig
from tests.support.forms import amount
from tools.process import COMMAND_S, REPOSITORY, run_command

Result = subprocess.CompletedProcess[str]
LONG_S = 3600
# The settings that say where the data are: the commands need no others.
NAMES = {"data_dir", "use_emulators", "firestore_emulator_host", "google_cloud_project"}
NAMES |= {"use_firestore_telemetry", "use_firestore_auth", "use_firestore_audit"}


def settings(config: ServerConfig) -> dict[str, str]:
    """The environment variables that say where this config's data are."""
    fields = [field for field in dataclasses.fields(config) if field.name in NAMES]
    values = {field.metadata["variable"]: getattr(config, field.name) for field in fields}
    return {name: str(int(one) if one in {True, False} else one) for name, one in values.items()}


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / "bas_server.py"), *arguments]


def run(config: ServerConfig, *arguments: str) -> Result:
    """Run `bas_server.py ARGUMENTS` to its end."""
    timeout_s = amount(COMMAND_S, LONG_S)
    return run_command(
        *arguments, data_dir=config.data_dir, timeout_s=timeout_s, **settings(config)
    )


def results(done: Result, *, code: int = 0) -> list[str]:
    """The output lines of a command that succeeded, without its progress lines."""
    assert (done.returncode, done.stderr) == (code, "")
    progress = re.compile(r"\w+(, checked)?: \d+ of \d+")
    return [line for line in done.stdout.splitlines() if not progress.fullmatch(line)]


def refused(done: Result, *words: str) -> None:
    """Check that the command exited with 1 and that its last line contains these words."""
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    *_, last = done.stderr.splitlines()
    for word in words:
        assert word in last
