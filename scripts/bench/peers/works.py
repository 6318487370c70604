"""What is measured of whom: each work gives figures of one run of one peer."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.bench import lifetime
from scripts.bench.peers import fanout, history, ingest, reconnect, servers, soak
from scripts.bench.peers.fanout import Figures, Phase
from scripts.bench.peers.servers import Peer

# Files of a process beside its streams.
SPARE_FILES = 200


@dataclass(frozen=True)
class Size:
    """How much of each."""

    clients: int
    many: int
    streams_at_end: int
    connections: int
    seconds: float
    rest_s: float
    # A million readings.
    zones: int = 20
    spans: int = 14
    calls: int = 100


FULL = Size(1000, 10_000, 1000, 32, 5.0, 1.0)
QUICK = Size(100, 300, 100, 8, 0.7, 0.2, zones=2, spans=6, calls=5)
# Ninety days of ten zones: 39 million readings.
LARGE = {"zones": 10, "spans": 90 * 12}


@dataclass(frozen=True)
class Work:
    """`measure` gives the figures by the name of what was done, which are `rows` in the table."""

    rows: Sequence[str]
    peers: Sequence[str]
    measure: Callable[[Peer, Path, Size], dict[str, Figures]]


def raise_file_limit() -> int:
    """As many files as the kernel lets this process open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


FAST, SLOW, SATURATED, MANY = "fanout, 100/s", "fanout, 5/s", "fanout, saturated", "many, 5/s"
INGEST, RECONNECT, LIFETIME, SOAK = "ingest", "reconnect", "lifetime", "soak"


def _fanout(peer: Peer, folder: Path, size: Size) -> dict[str, Figures]:
    phases = [
        Phase(SLOW, 5, size.seconds),
        Phase(FAST, 100, size.seconds),
        Phase(SATURATED, None, size.seconds),
    ]
    return fanout.measure(peer, folder, size.clients, phases)


def _many(peer: Peer, folder: Path, size: Size) -> dict[str, Figures]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < size.many + SPARE_FILES:
        raise TimeoutError(
            f"{size.many} clients are not possible here: a process may open {hard} files; "
            "raise the hard limit of `ulimit -n`"
        )
    return fanout.measure(peer, folder, size.many, [Phase(MANY, 5, size.seconds)])


def _ingest(peer: Peer, folder: Path, size: Size) -> dict[str, Figures]:
    return {INGEST: ingest.measure(peer, folder, size.connections, size.seconds)}


def _reconnect(peer: Peer, folder: Path, size: Size) -> dict[str, Figures]:
    return {RECONNECT: reconnect.measure(peer, folder, size.clients, size.seconds / 6)}


def _lifetime(_: Peer, folder: Path, size: Size) -> dict[str, Figures]:
    found = asyncio.run(lifetime.measure(folder, size.rest_s, size.streams_at_end))
    figures = {
        "start_ms": found["start to first 200"],
        "stop_ms": found["SIGTERM with 200 streams to exit"],
        "lost": found["streams that got no bye"],
    }
    return {LIFETIME: figures}


def _soak(_: Peer, folder: Path, size: Size) -> dict[str, Figures]:
    return {SOAK: soak.measure(folder, size.seconds)}


def _history(peer: Peer, folder: Path, size: Size) -> dict[str, Figures]:
    return history.measure(peer, folder, size.zones, size.spans, size.calls)


_FANOUT = (
    servers.THIS,
    servers.FLOOR,
    servers.FLOOR_BATCHED,
    servers.NCHAN,
    servers.STARLETTE,
    servers.FLASK_SSE,
)
_INGEST = (servers.THIS, servers.THIS_FIRESTORE, servers.FLASK, servers.FLASK_KEPT)
WORKS = {
    "fanout": Work((FAST, SLOW, SATURATED), _FANOUT, _fanout),
    "many": Work((MANY,), (servers.THIS, servers.FLOOR, servers.NCHAN), _many),
    "ingest": Work((INGEST,), _INGEST, _ingest),
    "reconnect": Work((RECONNECT,), (servers.THIS, servers.NCHAN), _reconnect),
    "lifetime": Work((LIFETIME,), (servers.THIS,), _lifetime),
    "history": Work(
        (history.AT_REST, history.ZONE, history.ZONES),
        (servers.THIS, servers.VICTORIA, servers.INFLUX),
        _history,
    ),
    "soak": Work((SOAK,), (servers.THIS,), _soak),
}
# Ten minutes, and compared with nobody.
BY_DEFAULT = [name for name in WORKS if name != "soak"]
