"""The command: `python -m scripts.bench peers`."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.bench import host
from scripts.bench.peers.installed import Missing
from scripts.bench.peers.results import TARGETS, Results, as_dict, as_text
from scripts.bench.peers.servers import PEERS
from scripts.bench.peers.works import (
    BY_DEFAULT,
    FULL,
    LARGE,
    LIFETIME,
    QUICK,
    SOAK,
    WORKS,
    Size,
    raise_file_limit,
)
from tools import wire

RUNS, QUICK_RUNS = 5, 1
SOAK_S, QUICK_SOAK_S = 600.0, 3.0
# Of one peer in one run; the others are measured all the same.
BREAKS_OFF = (TimeoutError, RuntimeError, AssertionError, OSError, wire.Refused)


def main(arguments: Sequence[str]) -> int:
    """0 if nothing was broken off and every target that could be measured is met, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench peers",
        description="This server beside what else one would take, on the same work.",
    )
    parser.add_argument("works", nargs="*", metavar="WORK", help=", ".join(WORKS))
    parser.add_argument("--peer", action="append", help=f"only these: {', '.join(PEERS)}")
    parser.add_argument("--quick", action="store_true", help="few clients, a second of each")
    parser.add_argument("--runs", type=int, help=f"runs of each ({RUNS}; quick {QUICK_RUNS})")
    parser.add_argument("--large", action="store_true", help="history of 39 million readings")
    parser.add_argument("--seconds", type=float, help=f"of each work, of soak ({SOAK_S:g})")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args(arguments)
    names, peers = options.works or BY_DEFAULT, options.peer or list(PEERS)
    for kind, asked, known in (("work", names, WORKS), ("peer", peers, PEERS)):
        unknown = set(asked) - known.keys()
        if unknown:
            parser.error(f"no such {kind}: {', '.join(sorted(unknown))}")
    size = _size(options.quick, options.seconds, names)
    if options.large:
        size = dataclasses.replace(size, **LARGE)
    runs = options.runs or (QUICK_RUNS if options.quick else RUNS)
    raise_file_limit()
    host.pin(host.LOAD_CORE)
    gc.freeze()  # pauses of the load side would count as the server's
    if not options.json:
        print(_machine(), flush=True)
    results = measured(names, peers, runs, size)
    if options.json:
        print(json.dumps(as_dict(results), indent=1))
    else:
        wanted = [
            (row, peer)
            for name in names
            for row in WORKS[name].rows
            if row not in {LIFETIME, SOAK}  # their figures are all targets
            for peer in WORKS[name].peers
            if peer in peers
        ]
        print(as_text(results, wanted))
    missed = any(target.met(results) is False for target in TARGETS)
    return 1 if missed or results.failed else 0


def measured(names: Sequence[str], peers: Sequence[str], runs: int, size: Size) -> Results:
    """All runs of all: in each, every work of every peer, the order turned round each time."""
    results = Results()
    for peer in dict.fromkeys(peer for name in names for peer in WORKS[name].peers):
        if peer not in peers:
            continue
        try:
            results.versions[peer] = PEERS[peer].version()
        except Missing as missing:
            results.left_out[peer] = str(missing)
    for run in range(runs):
        for name in names:
            order = [peer for peer in WORKS[name].peers if peer in peers]
            for peer in order if run % 2 == 0 else reversed(order):
                if peer not in results.left_out:
                    _one(results, name, peer, run, runs, size)
    _show_progress("")
    return results


def _one(results: Results, name: str, peer: str, run: int, runs: int, size: Size) -> None:
    _show_progress(f"run {run + 1}/{runs}: {name}, {peer}")
    try:
        with tempfile.TemporaryDirectory(prefix="bas-bench-") as folder:
            results.add(peer, run, WORKS[name].measure(PEERS[peer], Path(folder), size))
    except Missing as missing:
        results.left_out[peer] = str(missing)
    except BREAKS_OFF as error:
        results.failed[name, peer] = f"run {run + 1}: {type(error).__name__}: {error}"


def _size(quick: bool, seconds: float | None, names: Sequence[str]) -> Size:
    size = QUICK if quick else FULL
    if seconds is None and list(names) == ["soak"]:
        seconds = QUICK_SOAK_S if quick else SOAK_S
    return dataclasses.replace(size, seconds=seconds) if seconds else size


def _show_progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")


def _machine() -> str:
    load, python = os.getloadavg()[0], platform.python_version()
    return f"{os.cpu_count()} cores, load before {load:.1f}, Python {python}, {platform.system()}\n"
