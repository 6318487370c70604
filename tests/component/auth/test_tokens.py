"""API tokens: what they may do, and when they end."""

from __future__ import annotations

import hashlib

import pytest

from bas_server import open_container
from server.auth.tokens import LIFE_MAX_S, REVOKED_DAYS, TOKENS_MAX, NewToken
from server.commands.admin import console
from server.common.errors import BasError
from server.services.ports.documents import PAGE_MAX, Query
from tests.support.http import (
    Caller,
    audited,
    exchange,
    logged_in,
    lose_store,
    reading,
    served,
    stored,
)
from tests.support.kept import DOCUMENTS
from tests.support.stream import eventually
from tests.support.tokens import program, revoke, sending, token

SET = "/api/set_setpoint"
POST = "/api/sensor_data"
NOBODY = {"tenant_id": "default", "username": "nobody", "address": ""}


def figure(container, name, **labels):
    return container.base.metrics.registry.get_sample_value(name, labels) or 0.0


async def listed(container, name="pump"):
    """The token of this name as the store has it."""
    tokens = await container.base.auth.tokens.listed(None)
    return next(one for one in tokens if one.name == name)


async def test_only_a_digest_of_a_token_is_stored_and_it_is_long_random_and_marked(container):
    """OWASP ASVS 5.0, V11.4.1, V9.1.1, V7.2.3: 256 bits of a secure generator, stored as a hash."""
    secrets = {await token(container, f"t{number}") for number in range(20)}
    assert len(secrets) == 20
    for secret in secrets:
        assert secret.startswith("bast_")
        assert len(secret) == len("bast_") + 43
    texts = []
    for name in DOCUMENTS:
        page = await container.base.client.query(Query(name), PAGE_MAX)
        texts += [f"{one.id} {one.fields}" for one in page.documents]
    texts += [f"{entry}" for entry in await audited(container, "TOKEN_CREATED")]
    for secret in secrets:
        assert not any(secret.removeprefix("bast_") in text for text in texts)
        assert any(hashlib.sha256(secret.encode()).hexdigest() in text for text in texts)


async def test_a_token_acts_in_its_tenant_under_its_own_name_with_its_role(container):
    operator = await program(container, role="operator")
    answer = await operator.post(SET, {"setpoint_tenths": 210})
    assert (answer.status, answer.json()["updated_by"]) == (200, "token:pump")
    assert answer.headers["Cache-Control"] == "no-store"
    elsewhere = await program(container, tenant_id="elsewhere")
    assert (await elsewhere.get("/api/config")).json()["setpoint_tenths"] == 230
    refusal = await elsewhere.post(SET, {"setpoint_tenths": 220})
    assert (refusal.status, refusal.json()["code"]) == (403, "PERMISSION_DENIED")
    (entry,) = await audited(container, "ACCESS_DENIED", "elsewhere")
    assert entry.username == "token:pump"


async def test_the_state_of_a_token_is_shown_to_the_program_that_has_it(container, clock):
    forever = (await (await program(container, "a")).get("/auth/status")).json()
    assert (forever["kind"], forever["user"]["username"]) == ("token", "token:a")
    assert forever["expires_in"] == 400 * 86_400
    short = (await (await program(container, "b", life_s=90)).get("/auth/status")).json()
    assert (short["expires_in"], short["user"]["login_time_ms"]) == (90, clock.now_ms())
    person = await logged_in(container, "reader")
    assert (await person.get("/auth/status")).json()["kind"] == "session"


@pytest.mark.parametrize("path", ["/api/telemetry", "/api/status", "/auth/status"])
@pytest.mark.parametrize(
    "secret", ["bast_", "bast_" + "x" * 43, "bast_" + "x" * 5000, "bast_é", "bast_\x7f", "bast_ x"]
)
async def test_an_invented_token_is_refused_also_where_nobody_needs_one(container, path, secret):
    """OWASP ASVS 5.0, V8.2.1, V2.2.1: no answer for a token that does not exist, and no error."""
    answer = await sending(container, secret).get(path)
    assert (answer.status, answer.json()["code"]) == (401, "INVALID_TOKEN")
    assert await audited(container, "TOKEN_REFUSED") == []


async def test_an_address_may_invent_thirty_tokens_a_minute_and_right_ones_still_count(
    container, clock
):
    """OWASP ASVS 5.0, V6.3.1: guesses are limited, and nobody is shut out by them."""
    secret = await token(container)
    stranger = sending(container, "bast_invented")
    answers = [(await stranger.get("/api/telemetry")).status for _ in range(31)]
    assert answers == [401] * 30 + [429]
    refused = await stranger.get("/api/telemetry")
    assert (refused.json()["code"], refused.headers["Retry-After"]) == ("RATE_LIMITED", "60")
    assert (await sending(container, secret).get("/api/telemetry")).status == 200
    clock.advance(61)
    assert (await stranger.get("/api/telemetry")).status == 401


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer  "])
async def test_the_scheme_of_a_token_is_read_in_any_case(container, scheme):
    headers = {"Authorization": f"{scheme} {await token(container)}"}
    assert (await Caller(container.app, headers=headers).get("/api/telemetry")).status == 200


async def test_a_token_decides_also_beside_a_session_that_may_do_more_or_less(container):
    """OWASP ASVS 5.0, V8.2.1: one credential decides, the one sent on purpose."""
    admin = await logged_in(container, "admin")
    cookie = {"Cookie": f"bas_session_id={admin.session}", "X-Session-ID": admin.session}
    weak = sending(container, await token(container, "weak"), **cookie)
    assert (await weak.post(SET, {"setpoint_tenths": 210})).status == 403
    wrong = sending(container, "bast_wrong", **cookie)
    assert (await wrong.get("/api/telemetry")).status == 401
    reader = await logged_in(container, "reader")
    strong = await token(container, "strong", role="operator")
    caller = sending(container, strong, Cookie=f"bas_session_id={reader.session}")
    assert (await caller.post(SET, {"setpoint_tenths": 210})).status == 200


async def test_a_request_with_a_token_needs_no_origin_of_this_site(container):
    """OWASP ASVS 5.0, V3.5.1: no browser adds a token by itself, so no other site can send one."""
    operator = await program(container, role="operator")
    operator.headers["Origin"] = "https://grafana.example"
    assert (await operator.post(SET, {"setpoint_tenths": 210})).status == 200
    admin = await logged_in(container, "admin")
    hostile = sending(container, "bast_made-up", Origin="https://evil.example")
    hostile.headers["Cookie"] = f"bas_session_id={admin.session}"
    assert (await hostile.post(SET, {"setpoint_tenths": 220})).status == 401
    assert (await operator.get("/api/config")).json()["setpoint_tenths"] == 210


async def test_a_token_ends_at_its_time_and_its_further_use_is_audited_once_a_minute(
    container, clock
):
    """OWASP ASVS 5.0, V7.3.2, V16.3.1: an end in time, and a trace of what comes after it."""
    caller = await program(container, life_s=90)
    clock.advance(89)
    assert (await caller.get("/api/telemetry")).status == 200
    clock.advance(1)
    for _ in range(3):
        answer = await caller.get("/api/telemetry")
        assert (answer.status, answer.json()["code"]) == (401, "TOKEN_EXPIRED")
    (entry,) = await audited(container, "TOKEN_REFUSED")
    assert (entry.username, entry.success) == ("token:pump", False)
    assert entry.details["code"] == "TOKEN_EXPIRED"
    assert figure(container, "bas_denials_total", code="TOKEN_EXPIRED") == 3


async def test_a_revoked_token_is_refused_at_once_and_its_use_is_audited_and_counted(container):
    """OWASP ASVS 5.0, V7.4.1, V16.3.1: a revoked credential ends, and its use leaves a trace."""
    caller = await program(container)
    assert (await caller.get("/api/status")).status == 200
    await revoke(container)
    for path in ("/api/telemetry", "/api/status", "/auth/status"):
        answer = await caller.get(path)
        assert (answer.status, answer.json()["code"]) == (401, "INVALID_TOKEN")
    entries = await audited(container, "TOKEN_REFUSED")
    paths = {"/api/telemetry", "/api/status", "/auth/status"}
    assert {entry.details["path"] for entry in entries} == paths
    assert {entry.username for entry in entries} == {"token:pump"}
    assert figure(container, "bas_denials_total", code="INVALID_TOKEN") == 2
    (created,) = await audited(container, "TOKEN_CREATED")
    (revoked,) = await audited(container, "TOKEN_REVOKED")
    assert created.details == {
        **{"token": "pump", "kind": "token", "role": "read-only"},
        **{"zones": [], "expires_at": 0},
    }
    assert revoked.details["token"] == "pump"


async def test_a_revoked_token_ends_in_another_process_on_the_same_store(config, container, clock):
    """OWASP ASVS 5.0, V7.4.1: revocation holds for all processes."""
    secret = await token(container)
    async with open_container(config, clock) as other:
        there = sending(other, secret)
        assert (await there.get("/api/telemetry")).status == 200
        await revoke(container)

        async def is_refused():
            return (await there.get("/api/telemetry")).status == 401

        await eventually(is_refused, "a refusal by the other process")


async def test_the_last_use_is_stored_once_a_minute_whatever_the_number_of_requests(
    container, clock
):
    caller = await program(container)
    assert (await listed(container)).last_used == 0
    stored_at = []
    for _ in range(4):
        await caller.get("/api/telemetry")
        await caller.get("/api/telemetry")
        await eventually(lambda: not container.base.auth.tokens._noting, "the write")
        stored_at.append((await listed(container)).last_used - clock.now_ms())
        clock.advance(30)
    assert stored_at == [0, -30_000, 0, -30_000]


async def test_an_operator_s_token_posts_readings_of_its_tenant(container):
    bridge = await program(container, role="operator", tenant_id="elsewhere")
    answer = await bridge.post(POST, reading(250, device_id="attic"))
    assert (answer.status, answer.json()["cool_active"]) == (200, True)
    rows = [reading(251, device_id="attic"), reading(252, device_id="cellar")]
    assert (await bridge.post(f"{POST}/batch", rows)).json()["accepted"] == 2
    assert sorted(one.temp_tenths for one in await stored(container, "elsewhere")) == [
        250,
        251,
        252,
    ]
    assert await stored(container) == []
    refusal = await (await program(container, "weak")).post(POST, reading())
    assert (refusal.status, refusal.json()["code"]) == (403, "PERMISSION_DENIED")
    unknown = await sending(container, "bast_wrong").post(POST, reading())
    assert (unknown.status, unknown.json()["code"]) == (401, "INVALID_TOKEN")
    labels = {"route": POST, "code": "INVALID_TOKEN"}
    assert figure(container, "bas_readings_refused_total", **labels) == 1


async def test_a_token_stands_in_for_a_key_where_every_device_needs_one(config, clock):
    async with served(config, clock, device_auth="required") as container:
        bridge = await program(container, role="operator")
        assert (await bridge.post(POST, reading(250, device_id="attic"))).status == 200
        rows = [reading(250, device_id="cellar")]
        assert (await bridge.post(f"{POST}/batch", rows)).json()["accepted"] == 1
        person = await logged_in(container, "operator")
        refusal = await person.post(POST, reading(250, device_id="attic"))
        assert (refusal.status, refusal.json()["code"]) == (401, "DEVICE_KEY_REQUIRED")
        await lose_store(container)
        answer = await bridge.post(POST, reading(250, device_id="attic"))
        assert (answer.status, answer.json()["stored"]) == (200, False)


async def test_devices_behind_a_token_are_answered_while_the_store_is_away(container):
    known = await program(container, role="operator")
    assert (await known.post(POST, reading(250, device_id="attic"))).json()["heat_active"]
    await eventually(lambda: not container.base.auth.tokens._noting, "the write of its use")
    await lose_store(container)
    answer = await known.post(POST, reading(250, device_id="attic"))
    assert (answer.status, answer.json()["stored"]) == (200, False)
    assert answer.json()["heat_active"]  # steered from memory, not switched off as a stranger's
    assert (await known.get("/api/telemetry")).status == 503


async def test_a_token_that_was_not_used_for_a_while_is_not_trusted_while_the_store_is_away(
    container, clock
):
    """OWASP ASVS 5.0, V7.4.1: it may have been revoked, and no refusal has shown it."""
    known = await program(container, role="operator")
    body = reading(250, device_id="attic")
    assert (await known.post(POST, body)).json()["heat_active"]
    await eventually(lambda: not container.base.auth.tokens._noting, "the write of its use")
    await revoke(container)
    await lose_store(container)
    clock.advance(301)
    answer = await known.post(POST, body)
    assert (answer.status, answer.json()["stored"]) == (200, False)
    assert not answer.json()["heat_active"]  # a stranger's


async def test_a_token_whose_refusal_was_seen_is_not_trusted_while_the_store_is_away(container):
    known = await program(container, role="operator")
    body = reading(250, device_id="attic")
    assert (await known.post(POST, body)).status == 200
    await eventually(lambda: not container.base.auth.tokens._noting, "the write of its use")
    await container.base.auth.tokens._tokens.revoke(
        "default", "pump", 1, 2**40, container.base.stores.audit.entry("X", **NOBODY)
    )
    assert (await known.post(POST, body)).status == 401
    await lose_store(container)
    assert not (await known.post(POST, body)).json()["heat_active"]


async def test_an_expired_token_is_not_valid_while_the_store_is_away(container, clock):
    known = await program(container, role="operator", life_s=90)
    assert (await known.post(POST, reading(250, device_id="attic"))).status == 200
    await eventually(lambda: not container.base.auth.tokens._noting, "the write of its use")
    await lose_store(container)
    clock.advance(90)
    answer = await known.post(POST, reading(250, device_id="attic"))
    assert (answer.status, answer.json()["code"]) == (401, "TOKEN_EXPIRED")


async def test_a_token_opens_a_stream_of_its_own_tenant(container):
    await Caller(container.app).post(POST, reading(device_id="lab"))
    secret = await token(container)
    sent = [(b"authorization", f"Bearer {secret}".encode())]
    answer = await exchange(container.app, path="/api/sse/telemetry", headers=sent, frames=4)
    assert answer.status == 200
    assert b'"device_id":"lab"' in answer.body


async def test_a_reader_s_post_in_shadow_mode_is_answered_as_one_of_its_tenant(config, clock):
    async with served(config, clock, auth_mode="shadow") as container:
        for caller in (await logged_in(container, "reader"), await program(container)):
            answer = await caller.post(POST, reading(250, device_id="attic"))
            assert (answer.status, answer.json()["heat_active"]) == (200, True)
        assert len(await stored(container)) == 2


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "a b"}),
        ("name", {"name": "x" * 65}),
        ("name", {"name": "ü"}),
        ("role", {"role": "admin"}),
        ("role", {"role": "operator", "display": True}),
        ("zones", {"zones": ("",)}),
        ("zones", {"zones": ("a\n",)}),
        ("zones", {"zones": tuple(f"z{number}" for number in range(101))}),
        ("expires_in", {"life_s": 0}),
        ("expires_in", {"life_s": LIFE_MAX_S + 1}),
    ],
)
async def test_what_no_token_may_be_is_refused_by_the_field_s_name(container, field, wrong):
    """OWASP ASVS 5.0, V2.2.1, V8.2.1: no admin token, and no name that could forge a line."""
    with pytest.raises(BasError, match=f"Invalid value for {field}"):
        await container.base.auth.tokens.create(
            console(), "default", NewToken(**{"name": "pump", **wrong})
        )
    assert await container.base.auth.tokens.listed(None) == []


async def test_a_tenant_has_a_limited_number_of_tokens(container, monkeypatch):
    assert TOKENS_MAX <= 1000
    monkeypatch.setattr("server.auth.tokens.TOKENS_MAX", 2)
    await token(container, "one")
    await token(container, "two")
    with pytest.raises(BasError, match="TOO_MANY_TOKENS"):
        await token(container, "three")
    await token(container, "three", "elsewhere")


async def test_a_revoked_token_is_deleted_after_a_while(container, clock):
    secret = await token(container)
    await revoke(container)
    document = await container.base.client.get(
        "api_tokens", hashlib.sha256(secret.encode()).hexdigest()
    )
    assert document.fields["expire_at"] == clock.now_ms() + REVOKED_DAYS * 86_400_000
