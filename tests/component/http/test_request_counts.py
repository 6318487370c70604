"""Every answer is counted by its route's path and its status, and no caller can add series."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, lose_store, reading
from tests.support.serving import ask, request


@pytest.fixture
def anyone(container):
    return Caller(container.app)


def counted(container, route, code):
    """How many answers of this route had this status, as /metrics says; None: no such series."""
    metrics = container.base.metrics
    metrics.settle()
    labels = {"route": route, "code": str(code)}
    return metrics.registry.get_sample_value("bas_http_requests_total", labels)


async def test_answers_of_a_path_with_a_variable_are_counted_by_the_path_as_declared(
    container, anyone
):
    assert (await anyone.get("/static/api.js")).status == 200
    assert (await anyone.get("/static/no-such-file.js")).status == 404
    assert counted(container, "/static/<path:filename>", 200) == 1
    assert counted(container, "/static/<path:filename>", 404) == 1


async def test_what_reaches_no_route_is_counted_as_one(container, anyone):
    for number in range(3):
        assert (await anyone.get(f"/api/made-up-{number}")).status == 404
    assert (await anyone.open("DELETE", "/api/status")).status == 405
    assert (await anyone.get("/", headers={"Host": "evil.example"})).status == 421
    assert counted(container, "none", 404) == 3
    assert counted(container, "none", 405) == 1
    assert counted(container, "none", 421) == 1
    exposed = container.base.metrics.exposition().decode()
    assert "made-up" not in exposed
    assert "evil" not in exposed


async def test_an_ordinary_post_is_counted_like_one_that_quart_answers(container, port):
    body = b'{"temp_tenths": 301, "sensor_ok": true}'
    refused = b'{"temp_tenths": 301, "sensor_ok": true, "device_id": ""}'
    for headers in ({}, {"X-Firmware": "7"}):
        for one, status in ((body, 200), (refused, 400)):
            (answer,) = await ask(port, request(one, {"Connection": "close"} | headers))
            assert answer.status == status
    assert counted(container, "/api/sensor_data", 200) == 2
    assert counted(container, "/api/sensor_data", 400) == 2
    assert counted(container, "/api/sensor_data", 200) == 2  # it is settled once


async def test_failures_of_a_route_are_counted_from_zero(container, anyone):
    """Prometheus must see the series before the first failure, or it misses that one."""
    assert counted(container, "/api/status", 503) == 0
    await lose_store(container)
    assert (await anyone.get("/api/status")).status == 503
    assert counted(container, "/api/status", 503) == 1
    assert counted(container, "/api/status", 500) == 0
    assert (await anyone.post("/api/sensor_data", reading())).status == 200
    assert counted(container, "/api/sensor_data", 200) == 1
