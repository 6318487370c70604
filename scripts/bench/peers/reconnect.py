"""All clients drop at once, miss events, and come back at once with the last id they saw."""

from __future__ import annotations

import time
from pathlib import Path

from scripts.bench.peers.fanout import AT_ONCE, CONNECT_S, LATE_S, Figures, settle
from scripts.bench.peers.loop import Loop
from scripts.bench.peers.producers import Producers
from scripts.bench.peers.servers import Peer
from scripts.bench.peers.streams import SampledStream, Streams
from scripts.bench.peers.usage import Usage
from scripts.bench.table import percentile

A_SECOND, PRODUCERS = 50, 10


def measure(peer: Peer, folder: Path, clients: int, seconds: float) -> Figures:
    """How long after the drop each client has what it missed, and whether anyone lost anything.

    Events are posted for `seconds` before, in between (to no client) and afterwards.
    """
    with peer.start(folder) as running:
        loop = Loop()
        streams = Streams(loop, running.port)
        producers = Producers(loop, running.port, PRODUCERS, running.event)

        def open_all(last_ids: list[bytes], at_once: int) -> None:
            streams.open(
                clients,
                lambda index: running.stream(last_ids[index]),
                sampled=clients,
                at_once=at_once,
                speaks_first=peer.speaks_first,
                timeout_s=CONNECT_S,
            )

        def post() -> None:
            producers.post(seconds, A_SECOND)

        try:
            open_all([b""] * clients, AT_ONCE)
            settle(loop, streams, running)
            # The last event of settling may come after it.
            streams.among = producers.sent
            post()
            before = streams.sampled
            loop.run(lambda: streams.parsed >= clients * len(producers.sent), LATE_S)
            dropped_after = len(producers.sent)
            streams.close()
            post()
            missed = len(producers.sent) - dropped_after
            streams.begin()
            usage, began = Usage(running.processes), time.perf_counter()
            open_all([stream.last_id for stream in before], clients)
            loop.run(lambda: streams.parsed >= clients * missed, LATE_S)
            used = usage.until_now()
            live_ms = [(_live_at(stream, missed) - began) * 1000 for stream in streams.sampled]
            post()
            events = len(producers.sent)
            loop.run(lambda: streams.parsed >= clients * (events - dropped_after), LATE_S)
            after = streams.sampled
        finally:
            producers.close()
            streams.close()
            loop.close()
    lost = repeated = 0
    for first, second in zip(before, after, strict=True):
        stamps = [stamp for stamp, _ in first.got + second.got if stamp in producers.sent]
        lost += events - len(set(stamps))
        repeated += len(stamps) - len(set(stamps))
    return {
        "a_second": clients / max(live_ms) * 1000,
        "lost": lost,
        "repeated": repeated,
        "p50_ms": percentile(live_ms, 50),
        "p99_ms": percentile(live_ms, 99),
        "max_ms": max(live_ms),
        "cpu_us": used.server_s / clients * 1e6,
        **used.percent(),
    }


def _live_at(stream: SampledStream, missed: int) -> float:
    """When it had so many events; infinitely late if it never had."""
    return stream.got[missed - 1][1] if len(stream.got) >= missed else float("inf")
