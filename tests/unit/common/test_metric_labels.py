"""The known values of labels: their series start at 0, and no code uses another value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.common import metric_labels as known
from server.common.metrics import Metrics
from server.control.rules.trust_state import STATES
from server.routes.refusals import BATCH, SINGLE
from server.services.firestore.cache.documents import LIFE_S

ROOT = Path(__file__).parents[3]
SERVER = {path: path.read_text(encoding="utf-8") for path in (ROOT / "server").rglob("*.py")}
# Where posts of readings are refused.
REFUSING = (
    "auth/device_keys.py",
    "control/batch.py",
    "control/batch_service.py",
    "control/rules/posted_body.py",
    "control/rules/reading.py",
    "control/zone_cache.py",
    "control/zone_writer.py",
    "routes/device_posts.py",
    "routes/sensor_batch.py",
)


def found(pattern: str, *parts: str) -> set[str]:
    """What a pattern finds in the sources, or only in files whose path contains one of `parts`."""
    return {
        name
        for path, source in SERVER.items()
        if not parts or any(part in path.as_posix() for part in parts)
        for name in re.findall(pattern, source)
    }


def samples() -> dict[str, int]:
    """How many series each metric of a new process has, by the names of their samples."""
    counts: dict[str, int] = {}
    for metric in Metrics().registry.collect():
        for sample in metric.samples:
            counts[sample.name] = counts.get(sample.name, 0) + 1
    return counts


@pytest.mark.parametrize(
    ("name", "series"),
    [
        ("bas_streams_closed_total", len(known.STREAM_ENDS)),
        ("bas_readings_refused_total", len(known.DEVICE_ROUTES) * len(known.REFUSALS)),
        ("bas_cache_reads_total", len(known.CACHED) * len(known.CACHE_SOURCES)),
        ("bas_store_failures_total", len(known.STORE_FAILURES)),
        ("bas_zones", len(known.TRUST)),
    ],
)
def test_a_new_process_has_a_series_at_zero_for_each_known_value(name, series):
    assert samples()[name] == series
    for metric in Metrics().registry.collect():
        if metric.name.startswith("bas_") and metric.type == "counter":
            assert {sample.value for sample in metric.samples} <= {0.0}


def test_no_metric_has_a_second_series_with_the_time_when_it_was_made():
    assert [name for name in samples() if name.endswith("_created")] == []


def test_every_reason_for_which_a_stream_closes_is_known():
    ends = found(r"\b(?:end|close)\(\"(\w+)\"\)", "sse_service/")
    ends |= found(r"_ended = \"(\w+)\"", "sse_service/")
    assert ends <= set(known.STREAM_ENDS)
    assert {"slow", "drain", "client"} <= ends


def test_every_kind_of_a_failure_of_the_store_is_known():
    kinds = found(r"(?:unavailable\(\s*self\._metrics,|_failure\(|_lost\()\s*\"(\w+)\"")
    kinds |= found(r"store_failures\.labels\(kind=\"(\w+)\"\)")
    assert kinds <= set(known.STORE_FAILURES)
    assert {"queue_full", "write_timeout", "read_error", "audit_lost"} <= kinds


def test_every_result_of_a_log_in_is_known():
    results = found(r"logins\.labels\(result=\"(\w+)\"", "auth/login.py")
    results |= set(re.findall(r"result = \"(\w+)\"", SERVER[ROOT / "server/auth/login.py"]))
    assert results <= set(known.LOGINS)
    assert "success" in results


def test_every_code_with_which_a_post_is_refused_is_known():
    codes = found(r"(?<![\w.])\"([A-Z]{2,}(?:_[A-Z]+)+|BUSY)\"", *REFUSING)
    assert codes - {"DEVICE_NOT_FOUND"} <= set(known.REFUSALS)  # only readers get that one
    assert {"DEVICE_KEY_REQUIRED", "DEVICE_LIMIT", "NO_DATA"} <= codes


def test_the_known_states_routes_and_collections_are_those_of_the_code():
    assert known.TRUST == STATES
    assert known.DEVICE_ROUTES == (SINGLE, BATCH)
    assert set(known.CACHED) == {*LIFE_S, "telemetry"}
