"""Figures of processes that only the kernel knows: memory, processor time, open files, start."""

from __future__ import annotations

import os
from collections.abc import Iterable
from glob import glob
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector


class EachProcess(Collector):
    """The figures of all live processes that count in one folder, and of their supervisor.

    Each has the label `pid`: a sum of processor time would fall when a process ends, which
    Prometheus would take for a restart of all.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for pid in (os.getppid(), *self._counting()):
            for one in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                family = families.setdefault(
                    one.name, Metric(one.name, one.documentation, one.type)
                )
                for sample in one.samples:
                    family.add_sample(sample.name, {"pid": str(pid)}, sample.value)
        return families.values()

    def _counting(self) -> list[int]:
        """The processes with a file of gauges; it is deleted when the process ends."""
        files = glob(f"{self._folder}/gauge_livesum_*.db")
        return sorted(int(Path(file).stem.rpartition("_")[2]) for file in files)
