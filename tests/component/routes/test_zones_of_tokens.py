"""A token that is limited to some zones, on every route that knows of zones."""

from __future__ import annotations

import pytest

from tests.component.routes.test_stream_route import events
from tests.support.http import Caller, audited, exchange, reading, stored
from tests.support.tokens import program, sending, token

SET = "/api/set_setpoint"
POST = "/api/sensor_data"
BATCH = f"{POST}/batch"
# Each with the names of its devices. A zone that does not exist is refused like one that does.
READS = (
    "/api/status?device_id={}",
    "/api/config?device_id={}",
    "/api/telemetry?device_id={}",
    "/api/telemetry/window?device_id={}",
    "/api/telemetry/paginated?device_id={}",
    "/api/telemetry/statistics?device_id={}",
    "/api/telemetry/series?device_id={}",
    "/api/telemetry/series?device_id=lab&device_id={}",
    "/api/telemetry/setpoints?device_id={}",
    "/api/telemetry/export.csv?device_id={}",
)


@pytest.fixture
async def zones(container):
    """Three zones, of which `lab` was seen last but one."""
    for device_id, temp in (("attic", 210), ("lab", 220), ("shed", 230)):
        for path, body in (
            (POST, reading(temp, device_id=device_id)),
            ("/api/devices/register", {"device_id": device_id}),
        ):
            caller = await registrar(container) if "register" in path else Caller(container.app)
            assert (await caller.post(path, body)).status == 200
    return container


async def registrar(container):
    tokens = container.base.auth.tokens
    known = {one.name for one in await tokens.listed(None)}
    return await program(container, f"registrar{len(known)}", role="operator")


def refused(answer):
    return (answer.status, answer.json()["code"]) == (403, "ZONE_ACCESS_DENIED")


@pytest.mark.parametrize("path", READS)
async def test_a_read_of_another_zone_is_refused_and_one_of_its_own_is_answered(zones, path):
    """OWASP ASVS 5.0, V8.2.2: data-specific access."""
    limited = await program(zones, zones=("lab", "attic"))
    assert (await limited.get(path.format("lab"))).status == 200
    assert refused(await limited.get(path.format("shed")))
    assert refused(await limited.get(path.format("no-such-zone")))


@pytest.mark.parametrize("route", ["", "/window", "/paginated", "/statistics"])
async def test_a_query_without_a_zone_means_the_only_one_of_the_token(zones, route):
    one = await program(zones, "one", zones=("lab",))
    answer = (await one.get(f"/api/telemetry{route}")).json()
    if route == "/statistics":
        assert (answer["total_records"], answer["max_temperature"]) == (1, 220)
    else:
        rows = answer["data"] if route == "/paginated" else answer
        assert [row["device_id"] for row in rows] == ["lab"]
    several = await program(zones, "several", zones=("lab", "attic"))
    answer = await several.get(f"/api/telemetry{route}")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")


async def test_the_status_without_a_zone_is_of_the_one_seen_last_among_the_token_s(zones, clock):
    limited = await program(zones, zones=("lab", "attic", "no-such-zone"))
    clock.advance(1)
    await Caller(zones.app).post(POST, reading(215, device_id="attic"))
    clock.advance(1)
    await Caller(zones.app).post(POST, reading(235, device_id="shed"))
    assert (await limited.get("/api/status")).json()["device_id"] == "attic"
    assert (await limited.get("/api/config")).status == 200
    nowhere = await program(zones, "nowhere", zones=("no-such-zone",))
    answer = await nowhere.get("/api/status")
    assert (answer.status, answer.json()["temp_tenths"]) == (200, 0)


async def test_lists_of_zones_have_those_of_the_token_alone(zones):
    limited = await program(zones, zones=("lab",))
    assert [one["device_id"] for one in (await limited.get("/api/devices")).json()] == ["lab"]
    metrics = (await limited.get("/api/metrics/zones")).body.decode()
    assert 'device="lab"' in metrics
    assert 'device="attic"' not in metrics


async def stream(container, secret, query=b"", frames=4):
    sent = [(b"authorization", f"Bearer {secret}".encode())]
    path = "/api/sse/telemetry"
    return await exchange(container.app, path=path, query=query, headers=sent, frames=frames)


async def test_a_stream_has_the_events_and_the_snapshot_of_the_token_s_zones_alone(zones):
    secret = await token(zones, zones=("lab", "attic"))
    (_, snapshot) = events(await stream(zones, secret))[1]
    assert [zone["device_id"] for zone in snapshot["zones"]] == ["attic", "lab"]
    (_, snapshot) = events(await stream(zones, secret, b"device_id=lab"))[1]
    assert [zone["device_id"] for zone in snapshot["zones"]] == ["lab"]
    assert refused(await stream(zones, secret, b"device_id=lab&device_id=shed"))


async def test_a_replay_leaves_out_the_events_of_other_zones(zones):
    secret = await token(zones, zones=("lab",))
    hello = await stream(zones, secret, frames=3)
    last_id = [line for line in hello.body.decode().splitlines() if line.startswith("id: ")][-1]
    for device_id in ("attic", "lab", "shed"):
        await Caller(zones.app).post(POST, reading(240, device_id=device_id))
    query = f"snapshot=0&last_event_id={last_id.removeprefix('id: ')}".encode()
    found = events(await stream(zones, secret, query, frames=4))
    assert found[0][1]["resume"] == "recovered"
    assert {data["device_id"] for name, data in found if name == "telemetry"} == {"lab"}


async def test_a_setpoint_is_set_in_a_zone_of_the_token_and_in_no_other(zones):
    """OWASP ASVS 5.0, V8.2.2: data-specific access, also to change."""
    limited = await program(zones, role="operator", zones=("lab",))
    assert (await limited.post(SET, {"setpoint_tenths": 210, "device_id": "lab"})).status == 200
    assert refused(await limited.post(SET, {"setpoint_tenths": 210, "device_id": "shed"}))
    assert refused(await limited.post(SET, {"setpoint_tenths": 210}))
    assert refused(await limited.post("/api/devices/register", {"device_id": "new"}))
    shed = await Caller(zones.app).get("/api/config?device_id=shed")
    assert shed.json()["setpoint_tenths"] == 230


async def test_a_post_for_another_zone_is_refused_and_the_rest_of_its_batch_is_stored(zones):
    """OWASP ASVS 5.0, V8.2.2: data-specific access, row by row."""
    limited = await program(zones, role="operator", zones=("lab",))
    before = len(await stored(zones))
    assert (await limited.post(POST, reading(device_id="lab"))).status == 200
    assert refused(await limited.post(POST, reading(device_id="shed")))
    assert refused(await limited.post(POST, reading()))
    rows = [reading(device_id="lab"), reading(device_id="shed"), reading()]
    answer = (await limited.post(BATCH, rows)).json()
    assert answer["accepted"] == 1
    codes = [(one["index"], one["code"]) for one in answer["errors"]]
    assert codes == [(1, "ZONE_ACCESS_DENIED"), (2, "ZONE_ACCESS_DENIED")]
    assert [one["device_id"] for one in answer["commands"]] == ["lab"]
    assert len(await stored(zones)) == before + 2


async def test_a_refused_zone_is_counted_and_audited(zones):
    secret = await token(zones, zones=("lab",))
    await sending(zones, secret).get("/api/telemetry?device_id=shed")
    registry = zones.base.metrics.registry
    labels = {"code": "ZONE_ACCESS_DENIED"}
    assert registry.get_sample_value("bas_denials_total", labels) == 1
    (entry,) = await audited(zones, "ACCESS_DENIED")
    assert (entry.username, entry.details["code"]) == ("token:pump", "ZONE_ACCESS_DENIED")
