"""Metrics: the counters and times of a server process, in a registry that nothing else uses."""

from __future__ import annotations

import platform
from collections import Counter as Tally
from collections.abc import Iterable
from itertools import product
from typing import Literal, TypeVar

# Not from the package itself: that imports HTTP servers and clients.
from prometheus_client.metrics import Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from server.common import metric_labels as known
from server.common.metrics_text import exposition
from server.common.version import VERSION, revision
from server.config.config import metrics_folder

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# Without this, each counter has a second series with the time when it was made.
disable_created_metrics()  # type: ignore[no-untyped-call]

Combined = Literal["livesum", "livemax", "livemin", "livemostrecent"]
"""How a gauge's values in several live processes become one value."""

M = TypeVar("M", Counter, Gauge)


class _Maker:
    """Makes metrics. A label is given with its known values; their series start at 0."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, **labels: Iterable[str]) -> Counter:
        return _started(Counter(name, text, labels, registry=self._registry), labels.values())

    def gauge(
        self, name: str, text: str, combined: Combined = "livemax", **labels: Iterable[str]
    ) -> Gauge:
        gauge = Gauge(name, text, labels, registry=self._registry, multiprocess_mode=combined)
        return _started(gauge, labels.values())

    def times(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, buckets=LATENCY_BUCKETS_S, registry=self._registry)


def _started(metric: M, values: Iterable[Iterable[str]]) -> M:
    for combination in product(*values):
        if combination:
            metric.labels(*combination)
    return metric


class Metrics:
    """All metrics of one server process. Labels never name a tenant or a user."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        if metrics_folder() is None:
            ProcessCollector(registry=self.registry)
        make = _Maker(self.registry)
        self._of_processes(make)
        self._of_requests(make)
        self._of_streams(make)
        self._of_event_log(make)
        self._of_readings(make)
        self._of_store(make)
        self._of_alarms(make)
        self._of_access(make)
        self._of_notices(make)
        self._of_sync_calls(make)

    def _of_processes(self, make: _Maker) -> None:
        self.build = make.gauge(
            "bas_build_info",
            "1 for each version that runs",
            version=(VERSION,),
            revision=(revision(),),
            python=(platform.python_version(),),
        )
        self.build.labels(VERSION, revision(), platform.python_version()).set(1)
        self.processes = make.gauge("bas_processes", "Processes that serve now", "livesum")
        self.processes.set(1)
        self.processes_wanted = make.gauge(
            "bas_processes_wanted", "Processes that should serve: BAS_PROCESSES"
        )
        self.files_exhausted = make.gauge(
            "bas_files_exhausted",
            "1 while the process can open no file, so that new connections are reset",
        )
        self.connections_refused = make.counter(
            "bas_connections_refused",
            "Connections that were closed at once, since too many were open",
        )
        self.tls_expires_s = make.gauge(
            "bas_tls_certificate_expires_timestamp_seconds",
            "When the certificate of BAS_TLS_CERT expires, in Unix seconds; 0 without TLS",
            "livemin",
        )
        self.log_lines_dropped = make.counter(
            "bas_log_lines_dropped",
            "Lines of this server's own log that were dropped, since nobody took them",
        )

    def _of_requests(self, make: _Maker) -> None:
        self.requests = make.counter(
            "bas_http_requests",
            "Answers, by the route's path as it is declared and by status",
            route=(),
            code=(),
        )
        self.bodies_refused = make.counter(
            "bas_bodies_refused",
            "Requests refused while their bodies came, since too many bytes of bodies were held",
        )
        # Answers to ordinary posts of devices by status, which `settle` adds to `requests`: the
        # increment of a metric costs up to 2 µs, that of a dictionary's value 0.05 µs.
        self.ordinary_posts: Tally[int] = Tally()

    def _of_streams(self, make: _Maker) -> None:
        self.streams_open = make.gauge("bas_streams_open", "Streams open now", "livesum")
        self.streams_opened = make.counter("bas_streams_opened", "Streams opened")
        self.streams_closed = make.counter(
            "bas_streams_closed", "Streams closed, by reason", reason=known.STREAM_ENDS
        )
        self.streams_refused = make.counter(
            "bas_streams_refused",
            "Streams refused because too many were open, by limit",
            limit=known.STREAM_LIMITS,
        )
        self.resumes = make.counter(
            "bas_stream_resumes",
            "How streams began: fresh, recovered, reset",
            kind=known.RESUMES,
        )
        self.events_replayed = make.counter(
            "bas_events_replayed", "Events sent again to clients that resumed"
        )
        self.events_dropped = make.counter(
            "bas_events_dropped", "Events that waited for a client that was let go"
        )

    def _of_event_log(self, make: _Maker) -> None:
        self.events_published = make.counter("bas_events_published", "Events appended to the log")
        self.publish_failures = make.counter(
            "bas_publish_failures", "Events that could not be appended"
        )
        self.publish_seconds = make.times(
            "bas_publish_seconds", "From publish until the event is in the log"
        )
        self.events_deferred = make.counter(
            "bas_events_deferred",
            "Events that went to this process's streams before the log had them",
        )
        self.events_waiting = make.gauge(
            "bas_events_waiting", "Events that wait for the log now", "livesum"
        )
        self.events_lost = make.counter(
            "bas_events_lost", "Events that waited for the log and were dropped"
        )
        self.events_filled = make.counter(
            "bas_events_filled", "Events that were missed and then read from the log"
        )
        self.histories_lost = make.counter(
            "bas_histories_lost", "Event histories that ended: all clients reloaded"
        )
        self.log_failures = make.counter(
            "bas_log_failures",
            "Calls to the event log that failed, by kind",
            kind=known.LOG_FAILURES,
        )
        self.log_breaker_open = make.gauge(
            "bas_log_breaker_open", "1 while the circuit breaker of the event log is open"
        )

    def _of_readings(self, make: _Maker) -> None:
        self.readings_stored = make.counter("bas_readings_stored", "Readings stored")
        self.readings_repeated = make.counter(
            "bas_readings_repeated", "Repeated posts that were not stored again"
        )
        self.readings_unstored = make.counter(
            "bas_readings_unstored", "Readings that were answered from memory and not stored"
        )
        self.posts_limited = make.counter(
            "bas_posts_limited",
            "Posts beyond the limit of their address that got the command in force",
        )
        self.readings_refused = make.counter(
            "bas_readings_refused",
            "Readings refused, by route and code: the devices' relays stay as they are",
            route=known.DEVICE_ROUTES,
            code=known.REFUSALS,
        )
        self.zones = make.gauge(
            "bas_zones",
            f"Zones by whether they are trusted: {', '.join(known.TRUST)}",
            trust=known.TRUST,
        )
        self.oldest_reading_s = make.gauge(
            "bas_zones_oldest_reading_seconds",
            "Seconds since the last post of the zone that has been silent for longest",
        )

    def _of_store(self, make: _Maker) -> None:
        self.legacy_mirror_lost = make.counter(
            "bas_legacy_mirror_lost", "Readings that BAS_LEGACY_MIRROR did not get"
        )
        self.store_away = make.gauge("bas_store_away", "1 while the store takes no readings")
        self.store_damaged = make.gauge(
            "bas_store_damaged", "1 once damage was found in the SQLite file"
        )
        self.store_seconds = make.times(
            "bas_store_seconds", "From a write's hand-over to its commit"
        )
        self.store_failures = make.counter(
            "bas_store_failures", "Store calls that failed, by kind", kind=known.STORE_FAILURES
        )
        self.file_bytes = make.gauge("bas_store_file_bytes", "Bytes of the SQLite file")
        self.wal_bytes = make.gauge(
            "bas_store_wal_bytes",
            "Bytes of the SQLite file's -wal: it grows while a long read is under way",
        )
        self.disk_free_bytes = make.gauge(
            "bas_disk_free_bytes", "Bytes that the server may still use on the disk of its data"
        )
        self.disk_bytes = make.gauge("bas_disk_bytes", "Size of the disk of the data, in bytes")
        self.seal_lag_s = make.gauge(
            "bas_seal_lag_seconds",
            "For how long the oldest readings that are not packed yet could have been packed",
        )
        self.cache_reads = make.counter(
            "bas_cache_reads",
            "Documents read where a copy would do, by where it was found: process, shared, store",
            collection=known.CACHED,
            source=known.CACHE_SOURCES,
        )
        self.documents_expired = make.counter(
            "bas_documents_expired", "Documents deleted by retention"
        )
        self.retention_paused = make.gauge(
            "bas_retention_paused",
            "1 while nothing is deleted, because the clock leapt or looks wrong",
        )
        self.clock_skew_s = make.gauge(
            "bas_clock_skew_seconds",
            "How far this machine's clock is ahead of the time that all processes share",
            "livemostrecent",
        )

    def _of_alarms(self, make: _Maker) -> None:
        self.alarms = make.gauge(
            "bas_alarms",
            "Alarms that are active now, seen or not, by kind and severity",
            kind=known.ALARM_KINDS,
            severity=known.ALARM_SEVERITIES,
        )
        self.alarm_changes = make.counter(
            "bas_alarm_changes",
            "Steps of alarms, by kind and step",
            kind=known.ALARM_KINDS,
            step=known.ALARM_STEPS,
        )
        self.alarms_dropped = make.counter(
            "bas_alarms_dropped",
            "Conditions that became no alarm, since too many were open or waited",
        )

    def _of_access(self, make: _Maker) -> None:
        self.logins = make.counter("bas_logins", "Log-in attempts, by result", result=known.LOGINS)
        self.denials = make.counter(
            "bas_denials", "Requests refused by the guard, by code", code=known.DENIALS
        )

    def _of_notices(self, make: _Maker) -> None:
        self.notices_sent = make.counter(
            "bas_notices_sent",
            "Notices that a target has taken, by the target's kind",
            kind=known.TARGET_KINDS,
        )
        self.notices_failed = make.counter(
            "bas_notices_failed",
            "Attempts to send a message of notices that failed, by the target's kind",
            kind=known.TARGET_KINDS,
        )
        self.notices_given_up = make.counter(
            "bas_notices_given_up",
            "Notices that were given up after a day, by the target's kind",
            kind=known.TARGET_KINDS,
        )
        self.notices_waiting = make.gauge("bas_notices_waiting", "Notices that wait to be sent")
        self.notices_oldest_s = make.gauge(
            "bas_notices_oldest_seconds",
            "For how long the oldest notice that waits has waited",
        )

    def _of_sync_calls(self, make: _Maker) -> None:
        self.sync_failures = make.counter(
            "bas_sync_failures",
            "Calls of sync faces that were answered with nothing, since the store would not",
            face=(),
            method=(),
        )
        self.sync_refusals = make.counter(
            "bas_sync_refusals",
            "Sync calls that found no thread in time, by pool",
            pool=known.POOLS,
        )

    def settle(self) -> None:
        """Add what is counted in memory to the metrics, which other processes may read."""
        for status, number in self.ordinary_posts.items():
            self.requests.labels(known.SINGLE, str(status)).inc(number)
        self.ordinary_posts.clear()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format, combined for all processes of one folder.

        What other processes counted in memory lacks at most the last seconds: see `FileFigures` in
        `services/sqlite/figures.py`.
        """
        self.settle()
        folder = metrics_folder()
        if folder is None:
            return exposition(self.registry)
        from prometheus_client.multiprocess import MultiProcessCollector

        from server.common.process_metrics import EachProcess

        together = CollectorRegistry()
        MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]
        together.register(EachProcess(folder))
        return exposition(together)


def process_ended(folder: str, pid: int) -> None:
    """Leave a dead process's gauges out from now on; its counters stay in the sums."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
