"""How the history grows, as a table: `python -m scripts.bench.history [ZONES:DAYS ...]`."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.bench import host
from scripts.bench.history.filled import add_new, add_zones, bytes_of, fill
from scripts.bench.history.measure import NEW_MS, reads, spans_before_now
from scripts.bench.history.zones import DAY_MS
from scripts.bench.table import lines, short
from server.services.sqlite.reading_tables import SPAN_MS

SIZES = ("1:1", "1:90", "10:1", "10:90", "100:1", "100:90")
CALLS = 40
# Of more zones, these are made, and the others are copies of them.
MADE_MAX = 10


def main(sizes: Sequence[str]) -> int:
    """Fill a folder for each size, weigh it, and read it."""
    host.pin(host.LOAD_CORE)
    load, python = os.getloadavg()[0], platform.python_version()
    print(f"{os.cpu_count()} cores, load before {load:.1f}, Python {python}, {platform.system()}\n")
    rows = [_row(*map(int, size.split(":"))) for size in sizes or SIZES]
    what = list(rows[0])
    print(lines(tuple(what), [tuple(row.values()) for row in rows]))
    return 0


def _row(zones: int, days: int) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="bas-bench-") as name:
        folder = Path(name)
        spans = spans_before_now(days * DAY_MS // SPAN_MS)
        filled = asyncio.run(fill(folder, min(zones, MADE_MAX), spans))
        if zones > filled.zones:
            filled = add_zones(folder, filled, zones)
        size = bytes_of(folder)
        row = {
            "zones": str(zones),
            "days": str(days),
            "readings": f"{filled.readings / 1e6:.2f} million",
            "bytes": f"{size / 1e6:.1f} MB",
            "a reading": f"{size / filled.readings:.2f}",
        }
        filled = add_new(folder, filled, NEW_MS)
        for what, delays in reads(folder, filled, CALLS, days).items():
            row[f"{what}, ms"] = f"{short(delays.p50)} ({short(delays.processor)})"
        return row


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
