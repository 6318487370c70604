"""The command: runs the measures, prints one table."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from scripts.bench import alarms, firestore, host, ingest, lifetime, live, shared
from scripts.bench.history import measure as history
from scripts.bench.peers import command as peers
from scripts.bench.table import Row, as_dicts, as_text, rows

REPOSITORY = Path(__file__).resolve().parents[2]
RUNS, QUICK_RUNS = 5, 1
INSIDE_S, QUICK_S = 10.0, 1.5
QUICK_DAY = 0.02

Measure = Callable[[Path, bool], Mapping[str, float]]


def _inside(_: Path, quick: bool) -> Mapping[str, float]:
    command = [sys.executable, "-m", "scripts.bench.inside", str(QUICK_S if quick else INSIDE_S)]
    with host.on_core(host.SERVER_CORE):
        done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    figures: Mapping[str, float] = json.loads(done.stdout)
    return figures


def _lifetime(folder: Path, quick: bool) -> Mapping[str, float]:
    rest_s = QUICK_S if quick else lifetime.REST_S
    return asyncio.run(lifetime.measure(folder, rest_s))


def _live(folder: Path, quick: bool) -> Mapping[str, float]:
    return asyncio.run(live.measure(folder, QUICK_S if quick else live.SECONDS))


def _ingest(folder: Path, quick: bool) -> Mapping[str, float]:
    return asyncio.run(ingest.measure(folder, QUICK_S if quick else ingest.SECONDS))


def _shared(folder: Path, quick: bool) -> Mapping[str, float]:
    return asyncio.run(shared.measure(folder, QUICK_S if quick else shared.SECONDS))


def _firestore(folder: Path, quick: bool) -> Mapping[str, float]:
    if quick:
        return firestore.measure(folder, QUICK_S, QUICK_S, firestore.QUICK_CALLS)
    return firestore.measure(folder, ingest.SECONDS, firestore.REST_S, firestore.CALLS)


def _pages(folder: Path, quick: bool) -> Mapping[str, float]:
    from scripts.bench import pages  # it needs Playwright and a Chromium

    if quick:
        return asyncio.run(pages.measure(folder, 5 * QUICK_S, QUICK_DAY))
    return asyncio.run(pages.measure(folder))


def _alarms(folder: Path, quick: bool) -> Mapping[str, float]:
    count, zones = (1, 1000) if quick else (alarms.ALARMS, alarms.ZONES)
    return asyncio.run(alarms.measure(folder, count, zones))


def _history(folder: Path, quick: bool) -> Mapping[str, float]:
    return history.measure(folder, quick, large=False)


def _large_history(folder: Path, quick: bool) -> Mapping[str, float]:
    return history.measure(folder, quick, large=True)


MEASURES: Mapping[str, Measure] = {
    "lifetime": _lifetime,
    "inside": _inside,
    "live": _live,
    "shared": _shared,
    "ingest": _ingest,
    "alarms": _alarms,
    "firestore": _firestore,
    "pages": _pages,
    "history": _history,
}
# The history takes as long as all others together, pages need a browser, and alarms come as seldom
# as messages may.
BY_DEFAULT = [name for name in MEASURES if name not in {"history", "pages", "alarms"}]


def run(names: Sequence[str], runs: int, quick: bool, large: bool) -> list[Row]:
    """Measure each so many times, on fresh data every time."""
    measures = dict(MEASURES)
    if large:
        measures["history"] = _large_history
    return rows(_figures([(name, measures[name]) for name in names], runs, quick))


def _figures(
    measures: Sequence[tuple[str, Measure]], runs: int, quick: bool
) -> Iterator[Mapping[str, float]]:
    for name, measure in measures:
        for number in range(1, runs + 1):
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[K{name} {number}/{runs}")
            with tempfile.TemporaryDirectory(prefix="bas-bench-") as folder:
                yield measure(Path(folder), quick)
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")


def _machine() -> str:
    """What the figures belong to. A load that is there before the run is somebody else's."""
    load = os.getloadavg()[0]
    python = platform.python_version()
    return f"{os.cpu_count()} cores, load before {load:.1f}, Python {python}, {platform.system()}\n"


def main(arguments: Sequence[str]) -> int:
    """0 if every budget is met, else 1."""
    if arguments[:1] == ["peers"]:
        return peers.main(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench",
        description=__doc__,
        epilog="`peers` compares this server with others; see `peers --help`.",
    )
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    parser.add_argument(
        "--quick", action="store_true", help="one short run of each: about a minute"
    )
    parser.add_argument(
        "--large", action="store_true", help="history with 39 million readings too: two minutes"
    )
    parser.add_argument("--runs", type=int, help=f"runs of each ({RUNS}; quick {QUICK_RUNS})")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    options = parser.parse_args(arguments)
    names = options.measures or BY_DEFAULT
    unknown = set(names) - MEASURES.keys()
    if unknown:
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    os.chdir(REPOSITORY)
    host.pin(host.LOAD_CORE)
    gc.freeze()  # pauses of the load side would count as the server's
    if not options.json:
        print(_machine())
    runs = options.runs or (QUICK_RUNS if options.quick else RUNS)
    table = run(names, runs, options.quick, options.large)
    print(json.dumps(as_dicts(table), indent=1) if options.json else as_text(table))
    return 1 if any(row.met is False for row in table) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
