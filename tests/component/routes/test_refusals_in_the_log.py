"""A refused post is logged with its device, its address, the cause, and the relays' states."""

from __future__ import annotations

import json

import pytest

from server.common.seldom import PAUSE_S
from server.config.config import ServerConfig
from server.routes.refusals import LINES_MAX, LINES_S
from tests.support.http import ADDRESS, Caller, reading, served
from tests.support.paths import BATCH, PATHS, SINGLE, Sender
from tests.support.serving import ask, request

HOT = '{"temp_tenths": 300, "sensor_ok": true, "device_id": "lab"}'
PROXIES = ServerConfig.from_env({"BAS_TRUSTED_PROXIES": "10.0.0.1"}).trusted_proxies


@pytest.fixture
def device(container):
    return Caller(container.app)


@pytest.fixture
def lines(caplog):
    return lambda: [one.getMessage() for one in caplog.records if "refused" in one.getMessage()]


@pytest.mark.parametrize("path", PATHS)
async def test_a_line_has_route_cause_address_and_device_and_says_what_the_relays_do(
    container, port, lines, path
):
    await container.base.admin.register_device("default", "lab")
    await Sender(container, port, path).post(HOT)
    (line,) = lines()
    route = SINGLE if path in ("socket", "quart") else BATCH
    address = "127.0.0.1" if path == "socket" else ADDRESS
    for part in (f"to {route} ", "DEVICE_KEY_REQUIRED", f"from '{address}'", "device 'lab'"):
        assert part in line
    assert line.endswith("stay as they are, because its firmware ignores refusals")


async def test_the_line_has_the_client_s_address_from_a_trusted_proxy(config, clock, lines):
    async with served(config, clock, trusted_proxies=PROXIES) as container:
        proxy = Caller(container.app, "10.0.0.1", headers={"X-Forwarded-For": "203.0.113.9"})
        await proxy.post_text(SINGLE, "{")
    assert "from '203.0.113.9', naming no device" in lines()[0]


@pytest.mark.parametrize("path", [SINGLE, BATCH])
async def test_the_line_names_the_invalid_field(device, lines, path):
    body = '{"device_id": 7}'
    await device.post_text(path, body if path == SINGLE else f"[{body}]")
    assert "INVALID_FIELD in field 'device_id', from" in lines()[0]


async def test_a_device_gets_one_line_a_minute_however_often_it_posts(
    device, container, clock, lines
):
    await container.base.admin.register_device("default", "lab")
    for _ in range(5):
        await device.post_text(SINGLE, HOT)
        await device.post_text(BATCH, f"[{HOT}, {HOT}]")
    assert len(lines()) == 1
    clock.advance(PAUSE_S - 0.001)
    await device.post_text(SINGLE, HOT)
    assert len(lines()) == 1
    clock.advance(0.001)
    await device.post_text(SINGLE, HOT)
    assert len(lines()) == 2


async def test_made_up_devices_get_few_lines_and_one_that_counts_the_rest(
    device, container, clock, lines, monkeypatch
):
    monkeypatch.setattr("server.control.zone_cache.ZONES_MAX", 0)
    rows = [reading(device_id=f"made up {number}") for number in range(200)]
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        await Caller(container.app, address).post(BATCH, rows)
        rows = [reading(device_id=f"from {address} {number}") for number in range(200)]
    assert len(lines()) == LINES_MAX
    clock.advance(LINES_S)
    await device.post_text(SINGLE, "{")
    assert lines()[LINES_MAX:][0].startswith(f"{600 - LINES_MAX} more posts of readings")
    assert len(lines()) == LINES_MAX + 2


async def test_one_address_does_not_use_up_the_lines_of_the_others(container, lines, monkeypatch):
    monkeypatch.setattr("server.control.zone_cache.ZONES_MAX", 0)
    rows = [reading(device_id=f"made up {number}") for number in range(200)]
    await Caller(container.app, "192.0.2.1").post(BATCH, rows)
    await Caller(container.app, "192.0.2.2").post(SINGLE, reading(device_id="honest"))
    assert "DEVICE_LIMIT" in lines()[-1]
    assert "from '192.0.2.2', device 'honest';" in lines()[-1]


FORGED = [
    "lab\x85ERROR all is lost",
    "lab\u2028ERROR all is lost",
    "lab\u202eforged",
    "lab', from '203.0.113.1', device 'attic",
    'lab" \\n',
]


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("path", [SINGLE, BATCH])
async def test_no_made_up_device_id_can_break_or_forge_a_line(
    device, container, lines, monkeypatch, name, path
):
    monkeypatch.setattr("server.control.zone_cache.ZONES_MAX", 0)
    body = reading(device_id=name)
    await device.post(path, body if path == SINGLE else [body])
    (line,) = lines()
    assert line.isprintable()
    assert line.splitlines() == [line]
    assert f"device {name!r};" in line


async def test_a_made_up_address_from_a_proxy_is_escaped_and_shortened(config, clock, lines):
    async with served(config, clock, trusted_proxies=PROXIES) as container:
        headers = {"X-Forwarded-For": "x\x85" * 2000}
        await Caller(container.app, "10.0.0.1", headers=headers).post_text(SINGLE, "{")
    (line,) = lines()
    assert line.isprintable()
    assert len(line) < 1200


async def test_a_refused_batch_gets_one_line(device, lines):
    rows = [reading(device_id=name) for name in ("lab", "attic", "lab", "roof")]
    await device.post(BATCH, rows, headers={"X-Device-Key": "wrong"})
    (line,) = lines()
    assert "device 'lab' and 2 more;" in line


async def test_the_line_for_a_key_of_another_device_names_that_device(device, container, lines):
    key = await container.base.admin.register_device("elsewhere", "roof")
    await device.post(SINGLE, reading(device_id="lab"), headers={"X-Device-Key": key})
    (line,) = lines()
    assert "DEVICE_MISMATCH, from" in line
    assert "device 'lab' with the key of 'roof';" in line


async def test_the_line_names_the_key_s_device_if_the_body_names_none(device, container, lines):
    key = await container.base.admin.register_device("elsewhere", "roof")
    headers = {"X-Device-Key": key, "X-BAS-Tenant": "default"}
    for path, body in ((SINGLE, reading()), (BATCH, [reading()])):
        await device.post(path, body, headers=headers)
    assert "TENANT_ACCESS_DENIED" in lines()[0]
    assert "device 'roof';" in lines()[0]
    assert len(lines()) == 1


async def test_no_value_and_no_key_is_written_to_the_log(device, port, caplog):
    await device.post_text(SINGLE, '{"secret": "swordfish"')
    await device.post_text(SINGLE, '{"x": 1}', headers={"X-Device-Key": "swordfish"})
    body = json.dumps(reading(key="swordfish", device_id="lab")).encode()
    await ask(port, request(body, {"Connection": "close", "X-Device-Key": "swordfish"}))
    assert "swordfish" not in caplog.text
