"""Fan-out: so many streams of a real server, events posted at each of several rates."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.peers.loop import Loop
from scripts.bench.peers.producers import Producers
from scripts.bench.peers.servers import Peer, Running
from scripts.bench.peers.streams import Streams, delays_ms, missing
from scripts.bench.peers.usage import Usage
from scripts.bench.table import percentile

CONNECT_S, LIVE_S, LATE_S = 60.0, 30.0, 30.0
SAMPLED, AT_ONCE = 20, 100
POSTERS, POSTERS_SATURATED = 10, 32
WARM_UP_S, WARM_UP_RATE, WARM_UP_LATE_S = 0.3, 5, 5.0


@dataclass(frozen=True)
class Phase:
    """Events for a while, on the streams that are open; `a_second` None: as fast as answered."""

    name: str
    a_second: float | None
    seconds: float


Figures = dict[str, float]


def measure(peer: Peer, folder: Path, clients: int, phases: list[Phase]) -> dict[str, Figures]:
    """The figures of each phase, by its name: deliveries a second, what was lost and repeated, the
    time from post to frame, processor and memory of the server, and the load's own processor."""
    with peer.start(folder) as running:
        loop = Loop()
        streams = Streams(loop, running.port)
        try:
            # What a server loads for its first client is not what a client takes.
            _open(streams, running, 1, peer.speaks_first)
            settle(loop, streams, running)
            before_kb = running.processes.memory_kb()
            opened_s = _open(streams, running, clients - 1, peer.speaks_first)
            opened_s += settle(loop, streams, running)
            client_kb = (running.processes.memory_kb() - before_kb) / (clients - 1)
            figures = {}
            for phase in phases:
                figures[phase.name] = _phase(loop, streams, running, phase)
                figures[phase.name] |= {"client_kb": client_kb, "connect_s": opened_s}
            return figures
        finally:
            streams.close()
            loop.close()


def _open(streams: Streams, running: Running, count: int, speaks_first: bool) -> float:
    return streams.open(
        count,
        lambda _: running.stream(b""),
        sampled=min(count, SAMPLED),
        at_once=AT_ONCE,
        speaks_first=speaks_first,
        timeout_s=CONNECT_S,
    )


def settle(loop: Loop, streams: Streams, running: Running) -> float:
    """Post until every stream gets every event; the seconds until each had got one."""
    producers = Producers(loop, running.port, 1, running.event)
    began = time.perf_counter()

    def all_have_all() -> bool:
        return streams.events >= len(producers.sent) * len(streams.all)

    try:
        while time.perf_counter() - began < LIVE_S:
            streams.begin()
            producers.forget()
            start = time.perf_counter()
            producers.post(WARM_UP_S, WARM_UP_RATE)
            loop.run(all_have_all, WARM_UP_LATE_S)
            if all(stream.events == len(producers.sent) for stream in streams.all):
                streams.begin()
                return start - began
    finally:
        producers.close()
    got = sum(stream.events > 0 for stream in streams.all)
    raise TimeoutError(f"{got} of {len(streams.all)} streams are live after {LIVE_S:g} s")


def _phase(loop: Loop, streams: Streams, running: Running, phase: Phase) -> Figures:
    streams.begin()
    count = POSTERS_SATURATED if phase.a_second is None else POSTERS
    producers = Producers(loop, running.port, count, running.event)
    usage = Usage(running.processes)
    try:
        producers.post(phase.seconds, phase.a_second)
        events, clients = len(producers.sent), len(streams.all)
        loop.run(lambda: streams.events >= events * clients, LATE_S)
    finally:
        producers.close()
    used = usage.until_now()
    delays = delays_ms(streams.sampled, producers.sent)
    if not delays:
        raise RuntimeError(f"{phase.name}: {events} events were posted, none could be read")
    return {
        "a_second": streams.events / used.took_s,
        "events_a_second": events / used.took_s,
        # The sampled streams are looked at event by event as well.
        "lost": max(streams.lost(events), missing(streams.sampled, producers.sent)),
        "repeated": streams.repeated(events),
        "refused": producers.refused,
        "p50_ms": percentile(delays, 50),
        "p99_ms": percentile(delays, 99),
        "max_ms": max(delays),
        "cpu_us": used.server_s / streams.events * 1e6,
        **used.percent(),
    }
