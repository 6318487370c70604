"""The figures of all runs, what is judged by them, and both as tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.bench.peers import history, servers, works
from scripts.bench.peers.fanout import Figures
from scripts.bench.table import lines, short

COLUMNS = {
    "rate /s": "a_second",
    "lost": "lost",
    "p50 ms": "p50_ms",
    "p99 ms": "p99_ms",
    "max ms": "max_ms",
    "CPU µs": "cpu_us",
    "KB a client": "client_kb",
    "bytes a reading": "bytes",
    "server %": "server_percent",
    "load %": "load_percent",
    "others %": "others_percent",
}
# Not one is allowed in any run; the others are shown as medians.
WORST = {"lost", "repeated", "refused"}


@dataclass
class Results:
    """`figures[work, peer][run]`: a run that failed is not in it. `left_out` says why a peer is not
    measured, `failed` why runs of one were broken off."""

    figures: dict[tuple[str, str], dict[int, Figures]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[tuple[str, str], str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def add(self, peer: str, run: int, found: Mapping[str, Figures]) -> None:
        """The figures of one run."""
        for work, figures in found.items():
            self.figures.setdefault((work, peer), {})[run] = figures

    def values(self, work: str, peer: str, figure: str) -> list[float]:
        """Of every run that has it."""
        runs = self.figures.get((work, peer), {}).values()
        return [run[figure] for run in runs if figure in run]

    def ratios(self, work: str, figure: str, of: str, to: str) -> list[float]:
        """One peer's figure by another's, of every run that has both."""
        ours, theirs = self.figures.get((work, of), {}), self.figures.get((work, to), {})
        return [ours[run][figure] / theirs[run][figure] for run in ours if run in theirs]


def summary(figure: str, values: Sequence[float]) -> float:
    """The figure of all runs."""
    return max(values) if figure in WORST else statistics.median(values)


@dataclass(frozen=True)
class Target:
    """What is asked of this server: `limit` is an upper one, or a lower one if `at_least`."""

    what: str
    unit: str
    limit: float
    values: Callable[[Results], list[float]]
    at_least: bool = False
    worst: bool = False

    def measured(self, results: Results) -> float | None:
        """None if it could not be measured."""
        values = self.values(results)
        if not values:
            return None
        return max(values) if self.worst else statistics.median(values)

    def met(self, results: Results) -> bool | None:
        """None if it could not be measured."""
        measured = self.measured(results)
        if measured is None:
            return None
        if self.worst:
            return measured <= self.limit
        return measured >= self.limit if self.at_least else measured < self.limit


def _own(work: str, figure: str) -> Callable[[Results], list[float]]:
    return lambda results: results.values(work, servers.THIS, figure)


def _by(work: str, figure: str, peer: str) -> Callable[[Results], list[float]]:
    return lambda results: results.ratios(work, figure, servers.THIS, peer)


def _never(work: str, what: str = "lost", figure: str = "lost") -> Target:
    return Target(f"{work}: {what}", "", 0, _own(work, figure), worst=True)


TARGETS = (
    *(_never(work) for work in (works.FAST, works.SLOW, works.SATURATED, works.MANY)),
    _never(works.SATURATED, "refused", "refused"),
    Target(f"{works.FAST}: p99", "ms", 30, _own(works.FAST, "p99_ms")),
    Target(f"{works.FAST}: CPU, of nchan's", "", 0.8, _by(works.FAST, "cpu_us", servers.NCHAN)),
    Target(
        f"{works.SATURATED}: rate, of nchan's",
        "",
        8,
        _by(works.SATURATED, "a_second", servers.NCHAN),
        at_least=True,
    ),
    Target(
        f"{works.SATURATED}: rate, of sse-starlette's",
        "",
        30,
        _by(works.SATURATED, "a_second", servers.STARLETTE),
        at_least=True,
    ),
    Target(f"{works.SLOW}: p99", "ms", 16, _own(works.SLOW, "p99_ms")),
    Target(f"{works.MANY}: all connected", "s", 15, _own(works.MANY, "connect_s")),
    Target(f"{works.MANY}: memory a client", "KB", 24, _own(works.MANY, "client_kb")),
    _never(works.INGEST, "refused"),
    Target(
        "ingest: rate, of flask-sqlite's",
        "",
        5,
        _by(works.INGEST, "a_second", servers.FLASK),
        at_least=True,
    ),
    Target("ingest: p99", "ms", 50, _own(works.INGEST, "p99_ms")),
    _never(works.RECONNECT),
    Target("lifetime: start to first 200", "ms", 800, _own(works.LIFETIME, "start_ms")),
    Target("lifetime: SIGTERM to exit", "ms", 3000, _own(works.LIFETIME, "stop_ms")),
    _never(works.LIFETIME, "streams that got no bye"),
    Target("history: bytes a reading", "", 2.5, _own(history.AT_REST, "bytes")),
    Target(
        "history: bytes, of VictoriaMetrics'",
        "",
        0.5,
        _by(history.AT_REST, "bytes", servers.VICTORIA),
    ),
    *(
        Target(f"{work}: p50, of {name}", "", limit, _by(work, "p50_ms", peer))
        for work in (history.ZONE, history.ZONES)
        for name, peer, limit in (
            ("InfluxDB's", servers.INFLUX, 1),
            ("VictoriaMetrics'", servers.VICTORIA, 2),
        )
    ),
    _never(works.SOAK),
    Target("soak: memory more than before", "KB", 5000, _own(works.SOAK, "more_kb")),
    _never(works.SOAK, "files more than before", "more_files"),
    _never(works.SOAK, "threads more than before", "more_threads"),
)


def as_dict(results: Results) -> dict[str, Any]:
    """All of it for JSON, figures with their median (or worst), lowest and highest run."""
    rows = []
    for (work, peer), runs in results.figures.items():
        names = dict.fromkeys(name for figures in runs.values() for name in figures)
        figures = {}
        for name in names:
            values = results.values(work, peer, name)
            figures[name] = [summary(name, values), min(values), max(values)]
        rows.append({"work": work, "peer": peer, "runs": len(runs), "figures": figures})
    targets = [
        {
            "what": target.what,
            "unit": target.unit,
            "limit": target.limit,
            "at_least": target.at_least,
            "measured": target.measured(results),
            "met": target.met(results),
        }
        for target in TARGETS
    ]
    return {
        "versions": results.versions,
        "left_out": results.left_out,
        "failed": {f"{work}, {peer}": why for (work, peer), why in results.failed.items()},
        "rows": rows,
        "targets": targets,
    }


def as_text(results: Results, wanted: Sequence[tuple[str, str]]) -> str:
    """Versions, a row for each of the works and peers wanted, then the targets."""
    said = [f"{peer}: {version}" for peer, version in results.versions.items()]
    head = ("work", "server", *COLUMNS, "p99 min to max")
    rows = [_cells(results, work, peer) for work, peer in wanted]
    head_targets = ("target", "limit", "measured", "met")
    targets = [_judged(results, target) for target in TARGETS]
    known = [cells for cells in targets if cells]
    parts = ["\n".join(said), lines(head, rows), lines(head_targets, known)]
    parts += [f"{peer} is left out: {why}" for peer, why in results.left_out.items()]
    parts += [f"{work}, {peer}: {why}" for (work, peer), why in results.failed.items()]
    return "\n\n".join(parts)


def _cells(results: Results, work: str, peer: str) -> tuple[str, ...]:
    cells = [work, peer]
    for figure in COLUMNS.values():
        values = results.values(work, peer, figure)
        cells.append(short(summary(figure, values)) if values else "")
    p99 = results.values(work, peer, "p99_ms")
    span = f"{short(min(p99))} to {short(max(p99))}" if p99 else ""
    if (work, peer) not in results.figures:
        span = "left out" if peer in results.left_out else "broken off"
    return (*cells, span)


def _judged(results: Results, target: Target) -> tuple[str, ...] | None:
    measured, met = target.measured(results), target.met(results)
    if measured is None or met is None:
        return None
    unit = f" {target.unit}" if target.unit else ""
    sign = "" if target.worst else ">= " if target.at_least else "< "
    limit = f"{sign}{target.limit:g}{unit}"
    return (target.what, limit, short(measured) + unit, "yes" if met else "NO")
