"""Statistics of a history, and its bytes: the same readings in this server and in time series
databases, each asked over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from scripts.bench import host
from scripts.bench.history.filled import bytes_of, device, fill
from scripts.bench.history.measure import spans_before_now
from scripts.bench.history.zones import EVERY_MS, Noise, Zone
from scripts.bench.peers.fanout import Figures
from scripts.bench.peers.servers import INFLUX, VICTORIA, Peer
from scripts.bench.peers.usage import Usage
from scripts.bench.peers.watched import Watched
from scripts.bench.table import percentile
from server.services.history.columns import COOL, HEAT, SENSOR_OK, Columns
from server.services.sqlite.reading_tables import HOUR_MS, SPAN_MS
from tools import wire

AT_REST, ZONE, ZONES = "history at rest", "history, one zone", "history, all zones"
WAIT_S, SETTLE_S, SETTLE_MAX_S, LONGEST_S = 120.0, 5.0, 180.0, 20.0
DATABASE = "bench"


@dataclass(frozen=True)
class Holding:
    """A server that holds the readings; `ask` gives the statistics of a zone, or of all if None."""

    processes: Watched
    size: int
    ask: Callable[[str | None], bytes]


def measure(peer: Peer, folder: Path, zones: int, spans: int, calls: int) -> dict[str, Figures]:
    """Fill the server, weigh what it keeps, and ask for statistics over all of it."""
    holds = {VICTORIA: _victoria, INFLUX: _influx}.get(peer.name)
    window = spans_before_now(spans)
    holding = _this(folder, zones, window) if holds is None else holds(peer, folder, zones, window)
    with holding as held:
        readings = zones * spans * (SPAN_MS // EVERY_MS)
        figures = {AT_REST: {"bytes": held.size / readings}}
        figures[ZONE] = _asked(held, calls, lambda number: device(number % zones))
        figures[ZONES] = _asked(held, calls, lambda _: None)
        return figures


def _asked(held: Holding, calls: int, zone: Callable[[int], str | None]) -> Figures:
    held.ask(zone(0))
    usage = Usage(held.processes)
    delays: list[float] = []
    began = time.perf_counter()
    while len(delays) < calls and time.perf_counter() - began < LONGEST_S:
        asked = time.perf_counter()
        held.ask(zone(len(delays)))
        delays.append((time.perf_counter() - asked) * 1000)
    used = usage.until_now()
    return {
        "p50_ms": percentile(delays, 50),
        "p99_ms": percentile(delays, 99),
        "max_ms": max(delays),
        "cpu_us": used.server_s / len(delays) * 1e6,
        **used.percent(),
    }


@contextmanager
def _this(folder: Path, zones: int, spans: range) -> Iterator[Holding]:
    filled = asyncio.run(fill(folder, zones, spans))
    size = bytes_of(folder)
    hours = -(-(time.time_ns() // 1_000_000 - filled.start_ms) // HOUR_MS)
    with host.server(folder, BAS_TELEMETRY_DAYS="3650") as process:
        assert process.password is not None, process.output
        session = asyncio.run(wire.log_in(process.port, process.password))
        headers = {"X-Session-ID": session, "User-Agent": wire.AGENT}

        def ask(zone: str | None) -> bytes:
            query = {"hours": str(hours), "device_id": zone or ""}
            return web.get("/api/telemetry/statistics", query, headers)

        with _Web(process.port) as web:
            yield Holding(Watched([process.pid]), size, ask)


@contextmanager
def _victoria(peer: Peer, folder: Path, zones: int, spans: range) -> Iterator[Holding]:
    with peer.start(folder) as running, _Web(running.port) as web:
        for number, columns in _readings(zones, spans):
            web.post("/api/v1/import", b"".join(_series(device(number), columns)))
        web.get("/internal/force_flush")
        web.get("/internal/force_merge")
        size = _settled(folder, "data", "indexdb")
        seconds = len(spans) * SPAN_MS // 1000
        end = str(spans.stop * SPAN_MS // 1000)

        def ask(zone: str | None) -> bytes:
            of = f'temp_tenths{{device="{zone}"}}' if zone else "temp_tenths"
            query = f"(rollup({of}[{seconds}s]), count_over_time({of}[{seconds}s]))"
            return web.get("/api/v1/query", {"query": query, "time": end, "nocache": "1"})

        yield Holding(running.processes, size, ask)


def _series(name: str, columns: Columns) -> Iterator[bytes]:
    """The lines of one device's readings: a series for each field."""
    flags = columns.flags
    fields = {
        "temp_tenths": columns.temps,
        "setpoint_tenths": columns.setpoints,
        "deadband_tenths": columns.deadbands,
        "cool": [int(flag & COOL > 0) for flag in flags],
        "heat": [int(flag & HEAT > 0) for flag in flags],
        "sensor_ok": [int(flag & SENSOR_OK > 0) for flag in flags],
    }
    times = msgspec.Raw(msgspec.json.encode(columns.times))
    for field, values in fields.items():
        metric = {"__name__": field, "device": name}
        yield msgspec.json.encode({"metric": metric, "values": values, "timestamps": times})
        yield b"\n"


@contextmanager
def _influx(peer: Peer, folder: Path, zones: int, spans: range) -> Iterator[Holding]:
    with peer.start(folder) as running, _Web(running.port) as web:
        web.post("/query?" + urllib.parse.urlencode({"q": f"CREATE DATABASE {DATABASE}"}), b"")
        for number, columns in _readings(zones, spans):
            web.post(f"/write?db={DATABASE}&precision=ms", _lines(device(number), columns))
        size = _settled(folder, "data", "wal")
        start, end = (one * SPAN_MS for one in (spans.start, spans.stop))

        def ask(zone: str | None) -> bytes:
            of = f" AND device = '{zone}'" if zone else ""
            query = (
                "SELECT count(temp), mean(temp), min(temp), max(temp) FROM readings"
                f" WHERE time >= {start}ms AND time < {end}ms{of}"
            )
            return web.get("/query", {"db": DATABASE, "q": query})

        yield Holding(running.processes, size, ask)


def _lines(name: str, columns: Columns) -> bytes:
    rows = zip(
        columns.times,
        columns.temps,
        columns.setpoints,
        columns.deadbands,
        columns.flags,
        strict=True,
    )
    return "\n".join(
        f"readings,device={name} temp={temp}i,setpoint={setpoint}i,deadband={deadband}i,"
        f"cool={flags & COOL > 0},heat={flags & HEAT > 0},ok={flags & SENSOR_OK > 0} {at}"
        for at, temp, setpoint, deadband, flags in rows
    ).encode()


def _readings(zones: int, spans: range) -> Iterator[tuple[int, Columns]]:
    """What `fill` stores, as it comes: span by span, of one zone after the other."""
    noise = Noise()
    made = [Zone(number, noise) for number in range(zones)]
    for span in spans:
        for number, zone in enumerate(made):
            yield number, zone.span(span)


def _settled(folder: Path, *parts: str) -> int:
    """The bytes of these parts of a folder, once they have not changed for some seconds."""
    began = time.monotonic()
    size, since = -1, began
    while time.monotonic() - since < SETTLE_S and time.monotonic() - began < SETTLE_MAX_S:
        time.sleep(0.5)
        try:
            now = sum(bytes_of(folder / part) for part in parts)
        except FileNotFoundError:  # a file that was merged into another one
            now = -1
        if now != size or now < 0:
            size, since = now, time.monotonic()
    return size


class _Web(AbstractContextManager["_Web"]):
    """One kept connection to a server on this machine; any answer but 2xx is a RuntimeError."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)

    def get(
        self, path: str, query: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> bytes:
        """The body of the answer."""
        if query:
            path += "?" + urllib.parse.urlencode(query)
        return self._answer("GET", path, None, headers or {})

    def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer."""
        return self._answer("POST", path, body, {})

    def _answer(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status // 100 != 2:
            raise RuntimeError(f"{method} {path[:60]}: {answer.status} {text[:200]!r}")
        return text

    def __exit__(self, *_: object) -> None:
        self._connection.close()
