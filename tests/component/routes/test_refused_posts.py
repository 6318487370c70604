"""Refused posts are counted by route and code, and readings without the store as unstored."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, lose_store, reading
from tests.support.paths import BATCH, PATHS, SINGLE, SINGLES, Sender


@pytest.fixture
def device(container):
    return Caller(container.app)


@pytest.fixture
def figure(container):
    def of(name, **labels):
        return container.base.metrics.registry.get_sample_value(name, labels) or 0.0

    return of


REFUSED = {
    "no JSON": ("{", {}, "INVALID_JSON"),
    "no data": ("{}", {}, "NO_DATA"),
    "impossible device": ('{"device_id": 7}', {}, "INVALID_FIELD"),
    "another type": ('{"x": 1}', {"Content-Type": "text/plain"}, "UNSUPPORTED_MEDIA_TYPE"),
    "too long": ('{"x": 1}' + " " * 256 * 1024, {}, "TOO_LARGE"),
    "wrong key": ('{"x": 1}', {"X-Device-Key": "wrong"}, "INVALID_DEVICE_KEY"),
    "no key": ('{"device_id": "keyed"}', {}, "DEVICE_KEY_REQUIRED"),
    "no room": ('{"device_id": "new"}', {}, "DEVICE_LIMIT"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("path", PATHS)
async def test_a_refused_post_is_counted_once_by_its_route_and_code(
    container, port, figure, monkeypatch, path, name
):
    await container.base.admin.register_device("default", "keyed")
    monkeypatch.setattr("server.control.zone_cache.ZONES_MAX", 0)
    body, headers, code = REFUSED[name]
    await Sender(container, port, path).post(body, **headers)
    route = SINGLE if path in SINGLES else BATCH
    assert figure("bas_readings_refused_total", route=route, code=code) == 1
    samples = container.base.metrics.readings_refused.collect()[0].samples
    assert sum(one.value for one in samples if one.name.endswith("_total")) == 1


async def test_a_key_that_was_used_for_another_reading_is_counted_in_a_batch_too(device, figure):
    for path in (SINGLE, BATCH):
        for temp in (200, 201):
            body = reading(temp, key=path)
            await device.post(path, body if path == SINGLE else [body])
    for route in (SINGLE, BATCH):
        about = {"route": route, "code": "IDEMPOTENCY_KEY_REUSED"}
        assert figure("bas_readings_refused_total", **about) == 1


@pytest.mark.parametrize("path", [SINGLE, BATCH])
async def test_a_reading_answered_without_the_store_is_counted_as_unstored_and_not_as_refused(
    device, container, figure, caplog, path
):
    await device.post(SINGLE, reading(device_id="seen"))
    await lose_store(container)
    for name in ("seen", "never-seen"):
        body = reading(device_id=name)
        answer = await device.post(path, body if path == SINGLE else [body])
        assert answer.status == 200
    assert figure("bas_readings_unstored_total") == 2
    refused = container.base.metrics.readings_refused.collect()[0].samples
    assert {sample.value for sample in refused} == {0}
    assert figure("bas_store_away") == 1
    assert "refused" not in caplog.text
