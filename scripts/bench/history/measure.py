"""The measure `history`: a million readings of 20 zones, and 39 million of ten if asked for."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from scripts.bench.history import export, packing, ratios
from scripts.bench.history.filled import Filled, bytes_of, fill
from scripts.bench.history.inside import Delays
from scripts.bench.history.zones import DAY_MS
from scripts.bench.host import SERVER_CORE, on_core, resident_kb, server
from server.services.sqlite.reading_tables import HOUR_MS, SPAN_MS
from tools import wire
from tools.process import REPOSITORY, run_command

ZONES, SPANS, QUICK_SPANS = 20, 14, 6
LARGE_ZONES, LARGE_DAYS = 10, 90
# One to three hours of readings are not packed yet, and those of the last 15 to 75 minutes are not
# in the sums of hours.
NEW_MS = 7 * HOUR_MS // 4
CALLS, QUICK_CALLS = 100, 5
SECONDS, QUICK_S, REST_S = 12.0, 1.5, 3.0
# Nothing is packed and nothing deleted.
UNCHANGED = {"BAS_TELEMETRY_DAYS": "3650", "BAS_SEAL_AFTER_MINUTES": "525600"}


def measure(folder: Path, quick: bool, large: bool) -> dict[str, float]:
    """The figures of one run."""
    calls, seconds = (QUICK_CALLS, QUICK_S) if quick else (CALLS, SECONDS)
    spans = spans_before_now(QUICK_SPANS if quick else SPANS)
    dated, figures = at_rest(folder / "dated", ZONES, spans, has_clock=True)
    _, ticks = at_rest(folder / "ticks", ZONES, spans, has_clock=False)
    figures |= ticks
    filled = asyncio.run(fill(folder / "new", ZONES, spans, new_ms=NEW_MS))
    hours = len(spans) * SPAN_MS / HOUR_MS
    found = reads(folder / "new", filled, calls, hours / 24)
    figures |= _figures(found, f"{ZONES} zones", "a day")
    create_admin(folder / "dated")
    life = asyncio.run(_life(folder / "dated"))
    figures |= {f"{what}, a million readings": figure for what, figure in life.items()}
    idle_mb = life["idle memory"]
    figures |= asyncio.run(packing.measure(folder / "dated", dated, SPAN_MS, idle_mb))
    if large:
        figures |= _large(calls)
    return figures | asyncio.run(ratios.measure(folder, spans, seconds))


def at_rest(
    folder: Path, zones: int, spans: range, *, has_clock: bool
) -> tuple[Filled, dict[str, float]]:
    """Fill a folder, pack what there is to pack, and weigh all its files."""
    filled = asyncio.run(fill(folder, zones, spans, has_clock=has_clock))
    done = run_command("compact", "--older-than", "0", "--vacuum", data_dir=folder)
    assert done.returncode == 0, done.stderr
    name = "dated" if has_clock else "with ticks only"
    return filled, {f"a reading at rest, {name}": bytes_of(folder) / filled.readings}


def reads(folder: Path, filled: Filled, calls: int, days: float) -> Mapping[str, Delays]:
    """The delays of reads, in a process on the server's core."""
    arguments = [str(folder), *map(str, filled), str(calls), str(days)]
    with on_core(SERVER_CORE):
        done = subprocess.run(
            [sys.executable, "-m", "scripts.bench.history.inside", *arguments],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            check=True,
        )
    return {name: Delays(**found) for name, found in json.loads(done.stdout).items()}


def spans_before_now(count: int) -> range:
    """So many spans; one more that is over lies between them and now, for `packing`."""
    end = (time.time_ns() // 1_000_000 - HOUR_MS) // SPAN_MS - 1
    return range(end - count, end)


def create_admin(folder: Path) -> str:
    """Start a server on a folder, so that a later start is not the first; the admin's password."""
    with server(folder, **UNCHANGED) as process:
        process.terminate()
        assert process.password is not None, process.output
        return process.password


class _Large(NamedTuple):
    """39 million readings in a folder that is removed at the end of the process."""

    directory: tempfile.TemporaryDirectory[str]
    filled: Filled
    password: str


@cache
def _large_folder() -> _Large:
    """The folder, made once for all runs."""
    directory = tempfile.TemporaryDirectory(prefix="bas-bench-large-")
    folder = Path(directory.name)
    spans = spans_before_now(LARGE_DAYS * DAY_MS // SPAN_MS)
    filled = asyncio.run(fill(folder, LARGE_ZONES, spans, new_ms=NEW_MS))
    return _Large(directory, filled, create_admin(folder))


def _large(calls: int) -> dict[str, float]:
    directory, filled, password = _large_folder()
    folder = Path(directory.name)
    found = reads(folder, filled, calls, LARGE_DAYS)
    figures = _figures(found, "ten zones", "90 days")
    life = asyncio.run(_life(folder))
    figures |= {f"{what}, 39 million readings": figure for what, figure in life.items()}
    return figures | asyncio.run(export.measure(folder, filled, password))


def _figures(found: Mapping[str, Delays], zones: str, span: str) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, delays in found.items():
        what = f"{name.replace('all zones', zones)}, {span}"
        figures |= {f"{what}, p50": delays.p50, f"{what}, p99": delays.p99}
        figures |= {f"{what}, processor": delays.processor}
    return figures


async def _life(folder: Path) -> dict[str, float]:
    """A start on a filled folder that has an admin, and the memory some seconds later."""
    began = time.perf_counter()
    with server(folder, **UNCHANGED) as process:
        health = wire.Connection(process.port)
        await health.request("GET", "/api/health", close=True)
        started_s = time.perf_counter() - began
        await asyncio.sleep(REST_S)
        return {
            "start to first 200": started_s * 1000,
            "idle memory": resident_kb(process.pid) / 1024,
        }
