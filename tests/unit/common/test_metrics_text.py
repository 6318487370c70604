"""The text of metrics for Prometheus."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from server.common.metrics import Metrics
from server.common.metrics_text import CONTENT_TYPE, exposition


@pytest.mark.parametrize("value", [0, 1, 0.1, 1234567.5, 1e21, -2, float("inf"), float("nan")])
def test_the_text_is_that_of_the_package(value):
    registry = CollectorRegistry()
    Gauge("level", "With \\ and\na second line.", ["of", "at"], registry=registry).labels(
        'a "quoted" \\ one\nand a line', "é"
    ).set(value)
    Counter("posts", "Counted.", registry=registry).inc(3)
    Histogram("seconds", "Times.", buckets=(0.1, 1), registry=registry).observe(0.5)
    assert exposition(registry) == generate_latest(registry)
    assert CONTENT_TYPE == CONTENT_TYPE_LATEST


def test_the_text_of_all_metrics_of_a_server_is_that_of_the_package():
    def lasting(text: bytes) -> list[bytes]:
        lines = text.splitlines(keepends=True)
        return [line for line in lines if not line.startswith(b"process_")]

    metrics = Metrics()
    assert lasting(exposition(metrics.registry)) == lasting(generate_latest(metrics.registry))
