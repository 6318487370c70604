"""/api/metrics/zones: each zone's figures for Prometheus, and who reads whose."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from server.http.plain_posts import first_post
from server.routes.zone_metrics import ANSWERS_MAX
from tests.support.http import Caller, logged_in, lose_store, reading, served
from tests.support.serving import request

TOKEN = "0123456789abcdef0123"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ZONES = "/api/metrics/zones"


def lines_of(body):
    """The values of an answer, by metric and labels; each metric's lines must be together."""
    families = list(text_string_to_metric_families(body.decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def key(name, device, **labels):
    """The key in `lines_of` of a zone of the tenant `default`."""
    labels |= {"device": device, "tenant": "default"}
    return f"bas_zone_{name}", tuple(sorted(labels.items()))


async def of_default(container):
    """What a user of the tenant `default` reads."""
    answer = await (await logged_in(container, "reader")).get(ZONES)
    assert answer.status == 200, answer.body
    return lines_of(answer.body)


async def test_a_zone_has_its_temperature_setpoint_relays_trust_and_time(container, clock):
    operator = await logged_in(container, "operator")
    await operator.post("/api/set_setpoint", {"setpoint_tenths": 215, "deadband_tenths": 5})
    post = await Caller(container.app).post("/api/sensor_data", reading(302, device_id="lab"))
    assert post.json()["heat_active"] is True
    assert await of_default(container) == {
        key("temperature_celsius", "lab"): 30.2,
        key("setpoint_celsius", "lab"): 21.5,
        key("deadband_celsius", "lab"): 0.5,
        key("relay", "lab", relay="cool"): int(post.json()["cool_active"]),
        key("relay", "lab", relay="heat"): 1,
        key("trust", "lab", state="ok"): 1,
        key("last_reading_timestamp_seconds", "lab"): clock.now_ms() / 1000,
    }


async def test_a_zone_with_a_fault_has_no_temperature_and_its_relays_are_off(container):
    """A sensor that fails may send 0: a graph must not show a room at 0 °C."""
    anyone = Caller(container.app)
    await anyone.post("/api/sensor_data", reading(302, device_id="lab"))
    await anyone.post("/api/sensor_data", reading(0, sensor_ok=False, device_id="lab"))
    found = await of_default(container)
    assert key("temperature_celsius", "lab") not in found
    assert found[key("trust", "lab", state="fault")] == 1
    assert key("trust", "lab", state="ok") not in found
    assert found[key("relay", "lab", relay="heat")] == 0


async def test_a_silent_zone_has_no_temperature(container, clock):
    await Caller(container.app).post("/api/sensor_data", reading(302, device_id="lab"))
    clock.advance(600)
    found = await of_default(container)
    assert found[key("trust", "lab", state="silent")] == 1
    assert key("temperature_celsius", "lab") not in found


async def test_relays_whose_state_is_unknown_are_left_out(container):
    """The device did not take its answer: nobody knows whether it has switched."""
    post = first_post(request(b'{"temp_tenths": 302, "sensor_ok": true, "device_id": "lab"}'))
    assert (await container.posts.answer(post, "192.0.2.1"))[0] == 200
    assert key("relay", "lab", relay="heat") in await of_default(container)
    await container.posts.answer_lost(post, "192.0.2.1")
    found = await of_default(container)
    assert key("relay", "lab", relay="heat") not in found
    assert key("temperature_celsius", "lab") in found


@pytest.mark.parametrize(
    "device",
    [
        'a"} 1\\',
        "a\\nb",
        'lab",state="ok',
        "#",
        "{}",
        "\u2028\x85",
        "ß\U0001f4a5",
        "\\",
        '\\"',
        " ",
    ],
)
async def test_whatever_a_device_calls_itself_is_one_label(container, device):
    post = await Caller(container.app).post("/api/sensor_data", reading(250, device_id=device))
    assert post.status == 200, post.body
    answer = await (await logged_in(container, "reader")).get(ZONES)
    families = text_string_to_metric_families(answer.body.decode())
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels["device"] for sample in samples} == {device}
    assert key("temperature_celsius", device) in lines_of(answer.body)


async def test_a_session_reads_its_own_tenant_and_the_token_all_of_them(config, clock):
    async with served(config, clock, metrics_token=TOKEN) as container:
        await Caller(container.app).post("/api/sensor_data", reading(250, device_id="lab"))
        stranger = await logged_in(container, "stranger")
        assert lines_of((await stranger.get(ZONES)).body) == {}
        device_key = await container.base.admin.register_device("elsewhere", "lab")
        theirs = await Caller(container.app).post(
            "/api/sensor_data", reading(260), headers={"X-Device-Key": device_key}
        )
        assert theirs.status == 200
        answer = await Caller(container.app).get(ZONES, headers=BEARER)
        assert answer.headers["Cache-Control"] == "no-store"
        found = {
            labels: value
            for (name, labels), value in lines_of(answer.body).items()
            if name == "bas_zone_temperature_celsius"
        }
        assert found == {
            (("device", "lab"), ("tenant", "default")): 25.0,
            (("device", "lab"), ("tenant", "elsewhere")): 26.0,
        }
        own = lines_of((await stranger.get(ZONES)).body)
        assert {dict(labels)["tenant"] for _, labels in own} == {"elsewhere"}


@pytest.mark.parametrize("setting", ["", TOKEN])
@pytest.mark.parametrize("sent", ["", "wrong", TOKEN[:-1], TOKEN + "0", "é"])
async def test_a_wrong_token_reads_nothing_and_is_told_where_the_right_one_is(
    config, clock, setting, sent
):
    headers = {"Authorization": f"Bearer {sent}"}
    async with served(config, clock, metrics_token=setting) as container:
        answer = await Caller(container.app).get(ZONES, headers=headers)
    assert answer.status == 401
    code = "INVALID_METRICS_TOKEN" if sent else "INVALID_SESSION_ID"
    assert answer.json()["code"] == code
    if sent:
        assert "BAS_METRICS_TOKEN" in answer.json()["message"]


@pytest.mark.parametrize(("setting", "status"), [("open", 200), ("local", 200), ("off", 403)])
async def test_with_the_token_another_machine_reads_the_metrics_of_the_process(
    config, clock, setting, status
):
    async with served(config, clock, metrics=setting, metrics_token=TOKEN) as container:
        caller = Caller(container.app, "203.0.113.9")
        assert (await caller.get("/metrics", headers=BEARER)).status == status
        wrong = await caller.get("/metrics", headers={"Authorization": "Bearer wrong"})
        assert wrong.status == (200 if setting == "open" else 403)


async def test_zones_are_read_from_memory_while_the_store_is_away(config, clock):
    async with served(config, clock, metrics_token=TOKEN) as container:
        anyone = Caller(container.app)
        await anyone.post("/api/sensor_data", reading(250, device_id="lab"))
        await lose_store(container)
        away = await anyone.post("/api/sensor_data", reading(260, device_id="lab"))
        assert away.json()["stored"] is False
        found = lines_of((await anyone.get(ZONES, headers=BEARER)).body)
    assert found[key("temperature_celsius", "lab")] == 26.0


async def test_many_zones_are_all_there_in_several_pieces(container):
    anyone = Caller(container.app)
    names = {f"zone {number}" for number in range(1200)}
    rows = [reading(250, device_id=name) for name in sorted(names)]
    for start in (0, 600):
        answer = await anyone.post("/api/sensor_data/batch", rows[start : start + 600])
        assert answer.status == 200, answer.body
    found = await of_default(container)
    assert {dict(labels)["device"] for _, labels in found} == names
    assert len(found) == 7 * len(names)


async def test_more_answers_at_a_time_than_the_limit_are_refused_and_later_ones_are_not(container):
    await Caller(container.app).post("/api/sensor_data", reading(250, device_id="lab"))
    reader = await logged_in(container, "reader")
    answers = await asyncio.gather(*(reader.get(ZONES) for _ in range(ANSWERS_MAX + 4)))
    refused = [answer for answer in answers if answer.status != 200]
    assert len(refused) < len(answers)
    for answer in refused:
        assert (answer.status, answer.json()["code"]) == (503, "TOO_MANY_SCRAPES")
        assert answer.headers["Retry-After"]
    assert (await reader.get(ZONES)).status == 200
