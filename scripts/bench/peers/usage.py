"""Processor time of a span: the server's, the load's own, and everyone else's on the machine."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.peers.watched import Watched


@dataclass(frozen=True)
class Used:
    """Seconds of a span and of processor time in it."""

    took_s: float
    server_s: float
    load_s: float
    others_s: float

    def percent(self) -> dict[str, float]:
        """Each as a share of one core."""
        return {
            "server_percent": 100 * self.server_s / self.took_s,
            "load_percent": 100 * self.load_s / self.took_s,
            "others_percent": max(0.0, 100 * self.others_s / self.took_s),
        }


class Usage:
    """A span that begins now."""

    def __init__(self, server: Watched) -> None:
        self._server = server
        self._before = self._now()

    def until_now(self) -> Used:
        """What it took."""
        now = self._now()
        took_s, all_s, server_s, load_s = (
            after - before for after, before in zip(now, self._before, strict=True)
        )
        return Used(took_s, server_s, load_s, all_s - server_s - load_s)

    def _now(self) -> tuple[float, float, float, float]:
        return time.perf_counter(), _machine_s(), self._server.cpu_s(), time.process_time()


def _machine_s() -> float:
    """Processor time of all cores so far, with what a hypervisor took away."""
    first, *_ = Path("/proc/stat").read_text().splitlines()
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, first.split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
