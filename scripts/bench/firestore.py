"""The server on a real Firestore emulator: opening, each call, memory, readings a second."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from scripts.bench import host, ingest
from tools.firestore_emulator import JAR, JAVA, SWITCHES, FirestoreEmulator, fresh_project
from tools.process import REPOSITORY, clean_environment

REST_S, CALLS, QUICK_CALLS = 5.0, 300, 6
# What any program pays that imports Google's library, and does nothing else.
LIBRARY = "import google.cloud.firestore; print(open('/proc/self/status').read())"


def measure(folder: Path, seconds: float, rest_s: float, calls: int) -> dict[str, float]:
    """The figures; none where the emulator is not installed."""
    if JAR is None or JAVA is None:
        sys.stderr.write("the Firestore emulator is not installed: it is not measured\n")
        return {}
    with ExitStack() as stack:
        # The emulator may use the core that is free, and its compiler both.
        with host.anywhere():
            emulator = stack.enter_context(FirestoreEmulator())
        figures = _inside("calls", emulator.host, str(calls))
        # Afterwards: the emulator takes most of a second for the first request of its life.
        figures |= _inside("init", emulator.host)
        figures |= _inside("connect", emulator.host)
        return figures | _server(folder, emulator.host, seconds, rest_s)


def _server(folder: Path, emulator: str, seconds: float, rest_s: float) -> dict[str, float]:
    """Memory of an idle server that keeps everything in Firestore, then readings posted to it."""
    settings = {"USE_EMULATORS": "1", "FIRESTORE_EMULATOR_HOST": emulator}
    settings |= {f"USE_FIRESTORE_{switch.upper()}": "1" for switch in SWITCHES}
    library_kb = _library_kb()
    with host.server(folder, GOOGLE_CLOUD_PROJECT=fresh_project(), **settings) as process:
        asyncio.run(asyncio.sleep(rest_s))
        idle_kb = host.resident_kb(process.pid)
        asyncio.run(ingest.load(process, ingest.WARM_UP_S))
        load = asyncio.run(ingest.load(process, seconds))
    return {
        "idle memory on Firestore": idle_kb / 1024,
        "Google's library alone": library_kb / 1024,
        "idle memory beyond the library": (idle_kb - library_kb) / 1024,
        "readings refused on Firestore": load.refused,
        **load.figures("ingest on Firestore, 32 connections"),
    }


def _library_kb() -> int:
    environment = clean_environment(PYTHONDONTWRITEBYTECODE="")
    command = [sys.executable, "-c", LIBRARY]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"VmRSS:\s+(\d+) kB", done.stdout)
    assert found is not None, done.stdout
    return int(found[1])


def _inside(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "scripts.bench.firestore_inside", *arguments]
    with host.on_core(host.SERVER_CORE):
        done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures
