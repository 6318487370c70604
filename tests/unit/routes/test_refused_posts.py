"""What is refused, or answered without the store, is counted by code and said in the log now and
then: whoever sends it must not fill the disk."""

from __future__ import annotations

import pytest

from server.routes.device_posts import LINE_EVERY_S
from tests.support.http import Caller, lose_store, reading

SINGLE, BATCH = "/api/sensor_data", "/api/sensor_data/batch"


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
@pytest.mark.parametrize("path", [SINGLE, BATCH])
async def test_a_refused_post_is_counted_once_by_its_code(
    device, container, figure, monkeypatch, path, name
):
    await container.base.admin.register_device("default", "keyed")
    monkeypatch.setattr("server.control.zone_cache.ZONES_MAX", 0)
    body, headers, code = REFUSED[name]
    await device.post_text(path, body if path == SINGLE else f"[{body}]", headers=headers)
    assert figure("bas_readings_refused_total", code=code) == 1
    samples = container.base.metrics.readings_refused.collect()[0].samples
    assert sum(one.value for one in samples if one.name.endswith("_total")) == 1


async def test_a_key_with_another_reading_is_counted_in_a_batch_too(device, figure):
    for path in (SINGLE, BATCH):
        for temp in (200, 201):
            body = reading(temp, key=path)
            await device.post(path, body if path == SINGLE else [body])
    assert figure("bas_readings_refused_total", code="IDEMPOTENCY_KEY_REUSED") == 2


@pytest.mark.parametrize("path", [SINGLE, BATCH])
async def test_what_is_answered_without_the_store_is_counted_as_unstored_and_not_as_refused(
    device, container, figure, caplog, path
):
    await device.post(SINGLE, reading(device_id="seen"))
    await lose_store(container)
    for name in ("seen", "never-seen"):
        body = reading(device_id=name)
        answer = await device.post(path, body if path == SINGLE else [body])
        assert answer.status == 200
    assert figure("bas_readings_unstored_total") == 2
    assert figure("bas_readings_refused_total", code="STORE_UNAVAILABLE") == 0
    assert figure("bas_store_away") == 1
    assert "refused" not in caplog.text


async def test_the_log_has_one_line_in_ten_seconds_that_counts_the_others(device, clock, caplog):
    def lines():
        return [one.getMessage() for one in caplog.records if "refused" in one.getMessage()]

    for _ in range(5):
        await device.post_text(SINGLE, "{")
    (first,) = lines()
    assert first.startswith("1 posts of readings refused, the last one: INVALID_JSON")
    clock.advance(LINE_EVERY_S - 0.001)
    await device.post_text(SINGLE, "{}")
    assert len(lines()) == 1
    clock.advance(0.001)
    await device.post_text(SINGLE, "{}")
    assert lines()[1].startswith("6 posts of readings refused, the last one: NO_DATA")
    assert len(lines()) == 2


async def test_nothing_that_was_sent_is_written_to_the_log(device, caplog):
    await device.post_text(SINGLE, '{"secret": "swordfish"')
    await device.post_text(SINGLE, '{"x": 1}', headers={"X-Device-Key": "swordfish"})
    assert "swordfish" not in caplog.text
