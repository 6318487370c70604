"""What the server counts and times, in one registry of its own (no process-wide default)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from server.config.config import metrics_folder

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """All metrics of one server process. Labels never name a tenant or a user.

    A gauge says by its `multiprocess_mode` how the values of several processes become one.
    """

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.streams_open = Gauge(
            "bas_streams_open", "Streams open now", registry=r, multiprocess_mode="livesum"
        )
        self.streams_opened = Counter("bas_streams_opened", "Streams opened", registry=r)
        self.streams_closed = Counter(
            "bas_streams_closed", "Streams closed, by reason", ["reason"], registry=r
        )
        self.events_published = Counter(
            "bas_events_published", "Events appended to the log", registry=r
        )
        self.publish_failures = Counter(
            "bas_publish_failures", "Events that could not be appended", registry=r
        )
        self.events_replayed = Counter(
            "bas_events_replayed", "Events sent again to clients that resumed", registry=r
        )
        self.events_dropped = Counter(
            "bas_events_dropped",
            "Events that waited for a client that was let go",
            registry=r,
        )
        self.resumes = Counter(
            "bas_stream_resumes", "How streams began: fresh, recovered, reset", ["kind"], registry=r
        )
        self.events_deferred = Counter(
            "bas_events_deferred",
            "Events that went to this process's streams before the log had them",
            registry=r,
        )
        self.events_waiting = Gauge(
            "bas_events_waiting",
            "Events that wait for the log now",
            registry=r,
            multiprocess_mode="livesum",
        )
        self.events_lost = Counter(
            "bas_events_lost", "Events that waited for the log and were dropped", registry=r
        )
        self.events_filled = Counter(
            "bas_events_filled", "Events read from the log that were not heard", registry=r
        )
        self.histories_lost = Counter(
            "bas_histories_lost", "Histories that broke off: every client was told", registry=r
        )
        self.log_failures = Counter(
            "bas_log_failures", "Calls to the event log that failed, by kind", ["kind"], registry=r
        )
        self.log_breaker_open = Gauge(
            "bas_log_breaker_open",
            "1 while the event log is not asked",
            registry=r,
            multiprocess_mode="livemax",
        )
        self.readings_stored = Counter("bas_readings_stored", "Readings stored", registry=r)
        self.readings_repeated = Counter(
            "bas_readings_repeated", "Repeated posts that were not stored again", registry=r
        )
        self.readings_unstored = Counter(
            "bas_readings_unstored",
            "Readings that were answered from memory and not stored",
            registry=r,
        )
        self.readings_refused = Counter(
            "bas_readings_refused",
            "Readings refused, by route and code: no firmware hears that, relays stay as they are",
            ["route", "code"],
            registry=r,
        )
        self.zones = Gauge(
            "bas_zones",
            "Zones by whether they are trusted: never, ok, suspect, silent, stuck, refused, fault",
            ["trust"],
            registry=r,
            multiprocess_mode="livemax",
        )
        self.oldest_reading_s = Gauge(
            "bas_zones_oldest_reading_seconds",
            "How long ago the zone that was heard least lately posted",
            registry=r,
            multiprocess_mode="livemax",
        )
        self.store_away = Gauge(
            "bas_store_away",
            "1 while the store takes no readings",
            registry=r,
            multiprocess_mode="livemax",
        )
        self.store_seconds = Histogram(
            "bas_store_seconds",
            "From a write's hand-over to its commit",
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.store_failures = Counter(
            "bas_store_failures", "Store calls that failed, by kind", ["kind"], registry=r
        )
        self.cache_reads = Counter(
            "bas_cache_reads",
            "Documents read where a copy would do, by where it was found: process, shared, store",
            ["collection", "source"],
            registry=r,
        )
        self.publish_seconds = Histogram(
            "bas_publish_seconds",
            "From publish to the event's place in the log",
            buckets=LATENCY_BUCKETS_S,
            registry=r,
        )
        self.documents_expired = Counter(
            "bas_documents_expired", "Documents deleted by retention", registry=r
        )
        self.logins = Counter("bas_logins", "Log-in attempts, by result", ["result"], registry=r)
        self.denials = Counter(
            "bas_denials", "Requests refused by the guard, by code", ["code"], registry=r
        )
        self.sync_failures = Counter(
            "bas_sync_failures",
            "Calls of sync faces that were answered with nothing, since the store would not",
            ["face", "method"],
            registry=r,
        )
        self.sync_refusals = Counter(
            "bas_sync_refusals",
            "Sync calls that found no thread in time, by pool",
            ["pool"],
            registry=r,
        )

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format; of all processes that share a folder, as one."""
        folder = metrics_folder()
        if folder is None:
            return generate_latest(self.registry)
        from prometheus_client.multiprocess import MultiProcessCollector

        together = CollectorRegistry()
        MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def process_ended(folder: str, pid: int) -> None:
    """Leave a dead process's gauges out from now on; what it counted stays counted."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
