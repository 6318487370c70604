"""Runs the commands that copy data, with the settings of a ServerConfig."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

from server.config.config import ServerConfig
from tests.support.process import REPOSITORY, clean_environment

Result = subprocess.CompletedProcess[str]
# Where the data are; what else a config says has no part in copying.
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
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=clean_environment(**settings(config)),
    )


def results(done: Result) -> list[str]:
    """What a command that went well said, but for how far it was meanwhile."""
    assert (done.returncode, done.stderr) == (0, "")
    progress = re.compile(r"\w+(, checked)?: \d+ of \d+")
    return [line for line in done.stdout.splitlines() if not progress.fullmatch(line)]


def refused(done: Result, *words: str) -> None:
    """It ended with 1 and one clear line that holds these words."""
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    *_, last = done.stderr.splitlines()
    for word in words:
        assert word in last
