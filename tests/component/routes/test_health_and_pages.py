"""The public routes: the pages, /api/health and the routes for the operator's tools."""

from __future__ import annotations

import pytest

from server.config.config import ServerConfig
from tests.support.http import Caller, lose_store, served
from tests.support.tokens import revoke, sending, token


@pytest.fixture
def anyone(container):
    return Caller(container.app)


@pytest.mark.parametrize("path", ["/", "/auth/login"])
async def test_a_page_is_html(anyone, path):
    answer = await anyone.get(path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.body.lower().startswith(b"<!doctype html>")


async def test_health_reports_the_time_in_seconds_and_which_parts_are_on(anyone, clock, config):
    answer = await anyone.get("/api/health")
    assert answer.status == 200
    firestore = {"firestore": {"status": "healthy"}} if config.uses_firestore else {}
    assert answer.json() == {
        "status": "healthy",
        "timestamp": clock.now_ms() // 1000,
        "services": {"auth": True, "firestore": config.uses_firestore},
        "sse": {"scope": "site", "subscribers": {"default": 0}},
        **firestore,
    }


@pytest.mark.parametrize("off", [{"auth_enabled": False}, {"auth_mode": "disabled"}])
async def test_health_reports_that_log_in_is_off(config, clock, off):
    async with served(config, clock, **off) as container:
        answer = await Caller(container.app).get("/api/health")
    assert answer.json()["services"]["auth"] is False


async def test_healthz_of_a_running_process_says_alive(anyone):
    answer = await anyone.get("/healthz")
    assert (answer.status, answer.json()) == (200, {"status": "alive"})


async def test_a_server_whose_parts_all_answer_is_ready(anyone, config):
    answer = await anyone.get("/readyz")
    assert answer.status == 200
    clock = {"clock": "ok"} if config.uses_firestore else {}
    checks = {"store": "ok", "log": "ok", "database": "ok", "disk": "ok"} | clock
    assert answer.json() == {"status": "ready", "checks": checks, "reasons": {}}


async def test_a_server_whose_store_is_away_is_alive_but_not_ready(container, anyone):
    await lose_store(container)
    answer = await anyone.get("/readyz")
    assert answer.status == 503
    assert answer.json()["status"] == "unavailable"
    checks = answer.json()["checks"]
    assert (checks["store"], checks["log"]) == ("STORE_UNAVAILABLE", "ok")
    assert (await anyone.get("/healthz")).status == 200


async def test_a_draining_server_is_not_ready(container, anyone):
    await container.sse.hub.drain(1)
    answer = await anyone.get("/readyz")
    assert (answer.status, answer.json()["status"]) == (503, "draining")


async def test_without_the_store_requests_get_503_with_a_retry_after(container, anyone):
    await lose_store(container)
    device = await anyone.post("/api/sensor_data", {"temp_tenths": 235, "sensor_ok": True})
    # A device still gets a command (section 6, without the store).
    assert (device.status, device.json()["stored"]) == (200, False)
    for answer in (
        await anyone.get("/api/status"),
        await anyone.get("/api/status?device_id=lab"),
        await anyone.post("/auth/login", {"username": "admin", "password": "correct horse"}),
    ):
        assert (answer.status, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
        assert answer.json()["error"] == "Store unavailable"
        assert int(answer.headers["Retry-After"]) > 0


async def test_metrics_are_prometheus_text_and_contain_no_tenant_or_user(container, anyone):
    await anyone.log_in("operator")
    await anyone.post("/api/sensor_data", {"temp_tenths": 235})
    answer = await anyone.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    text = answer.body.decode()
    assert "bas_readings_stored_total 1.0" in text
    assert 'bas_logins_total{result="success"} 1.0' in text
    assert "operator" not in text
    assert "default" not in text


@pytest.mark.parametrize(
    ("setting", "peer", "headers", "status"),
    [
        ("open", "203.0.113.9", {}, 200),
        ("local", "127.0.0.1", {}, 200),
        ("local", "::1", {}, 200),
        ("local", "203.0.113.9", {}, 403),
        ("local", "127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}, 403),
        ("local", "127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("local", "203.0.113.9", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("token", "127.0.0.1", {}, 403),
        ("off", "127.0.0.1", {}, 403),
    ],
)
@pytest.mark.parametrize("proxies", ["", "127.0.0.1"])
async def test_the_setting_for_metrics_decides_who_reads_them(
    config, clock, setting, peer, headers, status, proxies
):
    """ASVS 5.0 v5.0.0-13.4.5: a monitoring endpoint is exposed on purpose only."""
    environ = {"BAS_TRUSTED_PROXIES": proxies} if proxies else {}
    trusted = ServerConfig.from_env(environ).trusted_proxies
    async with served(config, clock, metrics=setting, trusted_proxies=trusted) as container:
        answer = await Caller(container.app, peer).get("/metrics", headers=headers)
        assert answer.status == status
        if status == 403:
            assert answer.json()["code"] == "METRICS_CLOSED"
            assert b"bas_" not in answer.body


@pytest.mark.parametrize("setting", ["local", "token"])
@pytest.mark.parametrize("mode", ["user_password", "disabled"])
async def test_closed_metrics_are_answered_to_an_api_token_or_the_metrics_token(
    config, clock, setting, mode
):
    """ASVS 5.0 v5.0.0-13.4.5: a monitoring endpoint is exposed on purpose only."""
    known = {"metrics": setting, "metrics_token": "0123456789abcdef0123", "auth_mode": mode}
    async with served(config, clock, **known) as container:
        for secret in ("0123456789abcdef0123", await token(container)):
            answer = await sending(container, secret).get("/metrics")
            assert (answer.status, b"bas_" in answer.body) == (200, True)
        await revoke(container)
        for sent, status in ((secret, 401), ("bast_made-up", 401), ("bas_made-up", 403)):
            answer = await sending(container, sent).get("/metrics")
            assert (answer.status, b"bas_" in answer.body) == (status, False)


async def test_metrics_that_are_off_are_closed_to_tokens_too(config, clock):
    async with served(config, clock, metrics="off") as container:
        caller = sending(container, await token(container))
        assert (await caller.get("/metrics")).status == 403
