"""What the peers need, virtualenv, nginx with nchan, Redis; says what to install if missing."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tools.firestore_emulator import JAR, JAVA, FirestoreEmulator
from tools.nginx import EXECUTABLE as NGINX
from tools.process import REPOSITORY
from tools.redis_server import EXECUTABLE as REDIS

VENV = REPOSITORY / ".bench-venv"
PINS = Path(__file__).parent / "requirements.txt"
PYTHON = VENV / "bin" / "python"
MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")


class Missing(Exception):
    """A peer cannot be measured here; the text says what to install."""


@cache
def bench_python() -> str:
    """The Python with the peers' packages, installed first if need be. Raises Missing."""
    stamp = VENV / "stamp"
    wanted = f"{sys.version} {hashlib.sha256(PINS.read_bytes()).hexdigest()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return str(PYTHON)
    sys.stderr.write("setting up .bench-venv for the peers (once, about a minute)...\n")
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        [*pip, "--no-input", "-r", str(PINS)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = "".join((done.stderr or done.stdout).strip().splitlines()[-1:])
            raise Missing(
                f"{PINS.relative_to(REPOSITORY)} could not be installed into .bench-venv "
                f"(python3-venv and the network are needed): {last}"
            )
    stamp.write_text(wanted)
    return str(PYTHON)


def nginx() -> str:
    """The nginx. Raises Missing."""
    if NGINX is None:
        raise Missing("apt-get install nginx libnginx-mod-nchan")
    return NGINX


def nchan_module() -> Path:
    """nchan as a module of that nginx. Raises Missing."""
    nginx()
    for folder in MODULES:
        module = Path(folder) / "ngx_nchan_module.so"
        if module.exists():
            return module
    raise Missing("apt-get install libnginx-mod-nchan")


def firestore_emulator() -> FirestoreEmulator:
    """The emulator, not started. Raises Missing."""
    if JAR is None or JAVA is None:
        raise Missing("scripts/setup_emulators.sh says how to install the Firestore emulator")
    return FirestoreEmulator()


def redis() -> str:
    """The Redis. Raises Missing."""
    if REDIS is None:
        raise Missing("apt-get install redis-server")
    return REDIS


def program(name: str, package: str) -> str:
    """Where a program is. Raises Missing with the package to install."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"apt-get install {package}")
    return found


@cache
def packages() -> dict[str, str]:
    """The versions of the Python packages of the peers."""
    done = subprocess.run(
        [bench_python(), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        capture_output=True,
        check=True,
    )
    return {package["name"].lower(): package["version"] for package in json.loads(done.stdout)}


def version(command: list[str], pattern: str) -> str:
    """What a program says its version is; empty if it does not."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else ""
