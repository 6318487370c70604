"""The tools that strangers use on /openapi.json, in a virtualenv that the first test makes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.process import REPOSITORY

PINS = REPOSITORY / "tests" / "clients" / "requirements.txt"
NODE_PINS = REPOSITORY / "tests" / "clients" / "package-lock.json"
AXE_PINS = REPOSITORY / "tests" / "axe" / "package-lock.json"
# Resolved, since npm fails below a symbolic link.
FOLDER = (REPOSITORY / ".venv").resolve() / "clients"
INSTALL_S = 1200


def need_client_tools() -> Path:
    """The folder of the tools' programs; skips where they cannot be installed, fails in CI."""
    return _made("python", PINS, _python) / "bin"


def need_openapi_typescript() -> Path:
    """The program openapi-typescript; skips where npm is missing, fails where it must not be."""
    if shutil.which("npm") is None:
        reason = "npm is not installed: clients for TypeScript are NOT generated"
        if os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail(reason)
        pytest.skip(reason)
    return (
        _made("node", NODE_PINS, lambda folder: _node(folder, NODE_PINS))
        / "node_modules"
        / ".bin"
        / "openapi-typescript"
    )


def need_axe() -> str:
    """The source of axe-core; skips where npm is missing, fails where it must not be."""
    if shutil.which("npm") is None:
        reason = "npm is not installed: accessibility is NOT checked"
        if os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = _made("axe", AXE_PINS, lambda folder: _node(folder, AXE_PINS))
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def _made(name, pins, make):
    """The folder with what these pins name; one process makes it, the others wait."""
    FOLDER.mkdir(exist_ok=True)
    folder, stamp = FOLDER / name, FOLDER / f"{name}.stamp"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    with open(FOLDER / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                make(folder)
            except subprocess.CalledProcessError as error:
                reason = f"the tools of {pins} cannot be installed: {error.stderr[-2000:]}"
                if os.environ.get("CI") or os.environ.get("BAS_TEST_REQUIRE"):
                    pytest.fail(reason)
                pytest.skip(f"{reason}: its tests are left out")
            stamp.write_text(wanted)
    return folder


def _python(folder: Path) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    install = ["-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    _run([sys.executable, *install, "--no-deps", "-r", str(PINS)])


def _node(folder: Path, pins: Path) -> None:
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy2(pins.with_name(name), folder / name)
    _run(["npm", "ci", "--silent", "--ignore-scripts", "--prefix", str(folder)])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)
