"""What is measured: names, units and budgets; the figures of several runs made into a table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Budget:
    """A figure's unit and what it must stay below, or above; None: measured only.

    `never` figures count faults: not one is allowed, in any run. The others are judged by their
    median, since one run of a shared machine says little.
    """

    unit: str
    below: float | None = None
    never: bool = False
    above: float | None = None


# The figures of a call to Firestore. The share is the emulator's own, with gRPC.
CALL_FIGURES = ("p50", "p99", "share p50", "share p99", "10 at once p50", "10 at once p99")


def _calls(p99_below: float, *names: str) -> Mapping[str, Budget]:
    """The rows of calls to Firestore, whose p99 has a budget, in ms."""
    return {
        f"{name}: {figure}": Budget("ms", p99_below if figure == "p99" else None)
        for name in names
        for figure in CALL_FIGURES
    }


def _batches(*devices: int) -> Mapping[str, Budget]:
    """The rows of readings in batches of 1,000, of so many devices, and of a post beside them."""
    named: dict[str, Budget] = {}
    for name in (f"ingest, batches of {count} devices" for count in devices):
        named |= {name: Budget("/s", above=20_000), f"{name}, processor": Budget("µs")}
        named |= {f"{name}, p50": Budget("ms"), f"{name}, p99": Budget("ms")}
    for percent in (50, 99):
        named[f"ingest, a post beside batches, p{percent}"] = Budget("ms")
    return named


def _reads(zones: str, span: str, zones_p99: float | None, charts: bool) -> Mapping[str, Budget]:
    """The rows of reads of a filled history; of its whole length if `charts` are of that."""
    budgets: dict[str, tuple[float | None, float | None]] = {
        "statistics of a zone": (None, 10),
        f"statistics of {zones}": (None, zones_p99),
        "chart of a day": (15, 40),
        "window of 10,000": (None, None),
    }
    if charts:
        budgets |= {"chart": (20, None), "setpoints": (150, None)}
    named: dict[str, Budget] = {}
    for what, (p50, p99) in budgets.items():
        named[f"{what}, {span}, p50"] = Budget("ms", p50)
        named[f"{what}, {span}, p99"] = Budget("ms", p99)
        named[f"{what}, {span}, processor"] = Budget("ms")
    return named


def _times_earlier(what: str, above: float) -> dict[str, Budget]:
    """The rows of a load beside that of the earlier version."""
    return {
        f"{what}, times the earlier": Budget("", above=above),
        f"{what}, processor, of the earlier": Budget(""),
    }


PAGES: Mapping[str, Budget] = {
    "overview of 1,000 zones, first paint": Budget("ms", 500),
    "overview of 1,000 zones, interactive": Budget("ms", 1000),
    "overview of 1,000 zones, elements": Budget("", 4000),
    "1,000 zones at 0.5 Hz, long tasks a minute": Budget("", 1),
    "1,000 zones at 0.5 Hz, longest task": Budget("ms"),
    "1,000 zones at 0.5 Hz, processor of the page": Budget("%"),
    "1,000 zones at 0.5 Hz, frames while scrolling": Budget("/s", above=55),
    "a change in a second browser, p50": Budget("ms"),
    "a change in a second browser, p99": Budget("ms", 100),
    "memory more after a day": Budget("MB", 2),
}

HISTORY: Mapping[str, Budget] = {
    "a reading at rest, dated": Budget("bytes", 2.5),
    "a reading at rest, with ticks only": Budget("bytes", 4),
    **_reads("20 zones", "a day", None, charts=False),
    **_reads("ten zones", "90 days", 30, charts=True),
    "start to first 200, a million readings": Budget("ms", 600),
    "start to first 200, 39 million readings": Budget("ms", 600),
    "idle memory, a million readings": Budget("MB", 50),
    "idle memory, 39 million readings": Budget("MB", 50),
    "CSV of a zone": Budget("/s", above=250_000),
    "CSV of a zone, processor": Budget("µs"),
    "CSV of a zone, most memory": Budget("MB", 80),
    "a post beside a CSV, p99": Budget("ms"),
    "a post beside a CSV, p99 more": Budget("ms", 20),
    "memory more while packing": Budget("MB", 20),
    "packing, processor": Budget("µs"),
    "packing, of a core": Budget("%", 10),
    "a post while packing, p99": Budget("ms"),
    "a post while packing, p99 more": Budget("ms", 5),
    "window of 10,000 from HTTP": Budget("ms"),
    "window of 10,000, of the earlier": Budget("", 0.5),
    "window of 10,000, processor, of the earlier": Budget(""),
    **_times_earlier("ingest, 32 connections", 1.6),
    **_times_earlier("ingest, batches of 50 devices", 2.5),
    **_times_earlier("ingest, batches of 1000 devices", 2),
    "written a reading, 32 connections": Budget("bytes"),
    "written a reading, 32 connections, of the earlier": Budget("", 0.2),
    "written a reading, 10 posts/s": Budget("bytes"),
    "written a reading, 10 posts/s, of the earlier": Budget("", 0.5),
}

WHAT: Mapping[str, Budget] = {
    "start to first 200": Budget("ms"),
    "idle memory": Budget("MB", 50),
    "memory after one log-in": Budget("MB", 50),
    "memory per stream, of 200": Budget("KB", 64),
    "SIGTERM with 200 streams to exit": Budget("ms", 5000),
    "streams that got no bye": Budget("", never=True),
    "config load": Budget("ms", 5),
    "SSE service init": Budget("ms", 20),
    "fan-out to 100, 50 events/s, p99": Budget("ms", 20),
    "fan-out to 100, burst of 100, p99": Budget("ms", 20),
    "publish p99": Budget("ms", 30),
    "document get p99": Budget("ms", 20),
    "document write p99": Budget("ms", 20),
    "telemetry query p99": Budget("ms", 40),
    "user look-up p99": Budget("ms", 30),
    "post to frame, p50": Budget("ms"),
    "post to frame, p99": Budget("ms", 50),
    "post to frame, max": Budget("ms"),
    "processor, while they run": Budget("%"),
    "events lost": Budget("", never=True),
    "events repeated": Budget("", never=True),
    "two processes, post to the other's frame, p50": Budget("ms"),
    "two processes, post to the other's frame, p99": Budget("ms", 50),
    "two processes, post to the other's frame, max": Budget("ms"),
    "two processes, post to own frame, p99": Budget("ms"),
    "two processes, events lost": Budget("", never=True),
    "two processes, events repeated": Budget("", never=True),
    "two processes, processor of both": Budget("%"),
    "idle memory with Redis": Budget("MB", 60),
    "shared log init": Budget("ms", 20),
    "shared log, publish p99": Budget("ms", 30),
    "shared log, memory a connection": Budget("MB", 5),
    "hub on it, with its tail": Budget("MB", 1),
    "ingest, 32 connections": Budget("/s"),
    "ingest, 32 connections, processor": Budget("µs"),
    "ingest, 32 connections, p50": Budget("ms"),
    "ingest, 32 connections, p99": Budget("ms"),
    "ingest, connection a reading": Budget("/s"),
    "ingest, connection a reading, processor": Budget("µs"),
    "ingest, connection a reading, p50": Budget("ms"),
    "ingest, connection a reading, p99": Budget("ms"),
    **_batches(50, 1000),
    "readings refused": Budget("", never=True),
    "reading to webhook, p50": Budget("ms"),
    "reading to webhook, p99": Budget("ms", 1000),
    "silent zones, notice of the site's alarm": Budget("s", 15),
    "a post before they are silent, p99": Budget("ms"),
    "a post while they are, p99": Budget("ms"),
    "a post while they are, p99 more": Budget("ms", 20),
    "a post while they are, max": Budget("ms"),
    **_calls(20, "get", "create", "conditional put", "batch of 10", "aggregate count"),
    **_calls(
        40,
        "query_recent, device",
        "query_recent, tenant",
        "query_window",
        "query_recent_paginated",
        "statistics",
    ),
    **_calls(30, "create_user", "get_user_by_username", "update_user"),
    **_calls(30, "session create", "session get", "session invalidate"),
    "init_client": Budget("ms", 50),
    "init_client, memory": Budget("MB", 10),
    "open_firestore and ping": Budget("ms", 100),
    "idle memory on Firestore": Budget("MB"),
    "Google's library alone": Budget("MB"),
    "idle memory beyond the library": Budget("MB", 50),
    "ingest on Firestore, 32 connections": Budget("/s"),
    "ingest on Firestore, 32 connections, processor": Budget("µs"),
    "ingest on Firestore, 32 connections, p50": Budget("ms"),
    "ingest on Firestore, 32 connections, p99": Budget("ms"),
    "readings refused on Firestore": Budget("", never=True),
    **PAGES,
    **HISTORY,
}


@dataclass(frozen=True)
class Row:
    """One line of the table. `met` is None where there is no budget; `least` if it is a minimum."""

    what: str
    unit: str
    budget: float | None
    median: float
    low: float
    high: float
    met: bool | None
    least: bool = False


def rows(runs: Iterable[Mapping[str, float]]) -> list[Row]:
    """The figures of all runs by name, in the order of WHAT."""
    figures: dict[str, list[float]] = {}
    for run in runs:
        for what, figure in run.items():
            figures.setdefault(what, []).append(figure)
    return [_row(what, budget, figures[what]) for what, budget in WHAT.items() if what in figures]


def _row(what: str, budget: Budget, figures: Sequence[float]) -> Row:
    median, low, high = statistics.median(figures), min(figures), max(figures)
    met = None
    if budget.never:
        met = high == 0
    elif budget.below is not None:
        met = median < budget.below
    elif budget.above is not None:
        met = median > budget.above
    least = budget.above is not None
    limit = 0.0 if budget.never else budget.above if least else budget.below
    return Row(what, budget.unit, limit, median, low, high, met, least)


def as_dicts(table: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows for JSON."""
    return [asdict(row) for row in table]


def as_text(table: Iterable[Row]) -> str:
    """The rows as a Markdown table, so that a run can be pasted into the documentation.

    Calls to Firestore come after it in one of their own, a line each.
    """
    plain: list[Row] = []
    calls: dict[str, dict[str, Row]] = {}
    for row in table:
        call, _, figure = row.what.partition(": ")
        if figure in CALL_FIGURES:
            calls.setdefault(call, {})[figure] = row
        else:
            plain.append(row)
    tables = []
    if plain:
        columns = ("what", "budget", "measured", "min to max", "met")
        tables.append(lines(columns, [_cells(row) for row in plain]))
    if calls:
        head = ("call, in ms", "p99 budget", "p50", "p99", "p99 min to max", *CALL_FIGURES[2:])
        cells = [_call_cells(call, figures) for call, figures in calls.items()]
        tables.append(lines((*head, "met"), cells))
    return "\n\n".join(tables)


def lines(head: tuple[str, ...], rest: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    cells = [head, *rest]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    made = [
        "| "
        + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    made.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(made)


def _call_cells(call: str, figures: Mapping[str, Row]) -> tuple[str, ...]:
    p50, p99, *others = (short(figures[name].median) for name in CALL_FIGURES)
    _, budget, _, span, met = _cells(figures["p99"])
    return (call, budget.removesuffix(" ms"), p50, p99, span, *others, met)


def _cells(row: Row) -> tuple[str, ...]:
    unit = f" {row.unit}" if row.unit else ""
    budget = ""
    if row.budget is not None:
        sign = ">" if row.least else "<"
        budget = f"{sign} {row.budget:g}{unit}" if row.budget else "0"
    met = {True: "yes", False: "NO", None: ""}[row.met]
    span = f"{short(row.low)} to {short(row.high)}"
    return (row.what, budget, short(row.median) + unit, span, met)


def short(figure: float) -> str:
    """Three figures that mean something."""
    if figure == 0 or abs(figure) >= 100:
        return f"{figure:.0f}"
    return f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
