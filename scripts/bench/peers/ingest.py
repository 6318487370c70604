"""Readings a second: kept connections, each posting as soon as it is answered."""

from __future__ import annotations

from pathlib import Path

from scripts.bench.peers.fanout import Figures
from scripts.bench.peers.loop import Loop
from scripts.bench.peers.producers import Producers
from scripts.bench.peers.servers import Peer
from scripts.bench.peers.usage import Usage
from scripts.bench.table import percentile

WARM_UP_S = 1.0


def measure(peer: Peer, folder: Path, connections: int, seconds: float) -> Figures:
    """Answers a second, and how long each took. A reading that is answered with anything but 2xx,
    or not at all, is refused."""
    with peer.start(folder) as running:
        loop = Loop()
        producers = Producers(loop, running.port, connections, running.event)
        try:
            producers.post(min(WARM_UP_S, seconds))
            producers.forget()
            usage = Usage(running.processes)
            producers.post(seconds)
            used = usage.until_now()
        finally:
            producers.close()
            loop.close()
    if not producers.delays:
        raise TimeoutError("no reading was answered")
    delays = [delay * 1000 for delay in producers.delays]
    return {
        "a_second": len(delays) / used.took_s,
        "lost": producers.refused,
        "p50_ms": percentile(delays, 50),
        "p99_ms": percentile(delays, 99),
        "max_ms": max(delays),
        "cpu_us": used.server_s / len(delays) * 1e6,
        **used.percent(),
    }
