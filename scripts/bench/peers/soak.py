"""Clients with a token come, read and go for minutes: does the server hold more afterwards?"""

from __future__ import annotations

import time
from pathlib import Path

from scripts.bench.peers.fanout import AT_ONCE, CONNECT_S, LATE_S, Figures, settle
from scripts.bench.peers.loop import Loop
from scripts.bench.peers.producers import Producers
from scripts.bench.peers.servers import Running, this_server
from scripts.bench.peers.streams import Streams

CLIENTS, SAMPLED = 500, 5
A_SECOND, PRODUCERS = 100, 10
CYCLE_S, IDLE_MAX_S, LOOK_S = 3.0, 20.0, 0.2
# Memory grows by 8 MB in the warm-up, and no more after it.
WARM_UP_S = 30.0
# So short that it is full before the first look.
HISTORY = 200


def measure(folder: Path, seconds: float) -> Figures:
    """By how much memory, files and threads have grown, and the deliveries lost."""
    with this_server(folder, by_token=True, BAS_SSE_HISTORY_EVENTS=str(HISTORY)) as running:
        watched = running.processes
        cycle_s = min(CYCLE_S, seconds)
        idle_s = min(IDLE_MAX_S, 2 * seconds)
        idle_files, lost = watched.files(), 0
        warm = time.perf_counter() + min(WARM_UP_S, seconds)
        while True:
            lost += _cycle(running, max(cycle_s, HISTORY / A_SECOND))
            if time.perf_counter() >= warm:
                break
        _until_idle(running, idle_files, idle_s)
        before_kb, threads, files = watched.memory_kb(), watched.threads(), watched.files()
        end, cycles = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            lost += _cycle(running, cycle_s)
            cycles += 1
        _until_idle(running, files, IDLE_MAX_S)
        return {
            "cycles": cycles,
            "lost": lost,
            "more_kb": watched.memory_kb() - before_kb,
            "more_files": watched.files() - files,
            "more_threads": watched.threads() - threads,
        }


def _cycle(running: Running, seconds: float) -> int:
    """All clients come, read what is posted, and go; the deliveries lost."""
    loop = Loop()
    streams = Streams(loop, running.port)
    producers = Producers(loop, running.port, PRODUCERS, running.event)
    try:
        streams.open(
            CLIENTS,
            lambda _: running.stream(b""),
            sampled=SAMPLED,
            at_once=AT_ONCE,
            speaks_first=True,
            timeout_s=CONNECT_S,
        )
        settle(loop, streams, running)
        producers.post(seconds, A_SECOND)
        events = len(producers.sent)
        loop.run(lambda: streams.events >= events * CLIENTS, LATE_S)
        return streams.lost(events)
    finally:
        producers.close()
        streams.close()
        loop.close()


def _until_idle(running: Running, files: int, idle_s: float) -> None:
    """Wait until the server has closed what the clients had, not for ever."""
    deadline = time.perf_counter() + idle_s
    while running.processes.files() > files and time.perf_counter() < deadline:
        time.sleep(LOOK_S)
