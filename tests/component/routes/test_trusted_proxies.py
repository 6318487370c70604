"""BAS_TRUSTED_PROXIES: the proxies whose headers determine the client's address."""

from __future__ import annotations

import pytest

from server.config.config import ServerConfig
from tests.support.http import Caller, audited, served

PROXY, INNER_PROXY, CLIENT = "10.0.0.1", "10.0.0.2", "203.0.113.9"
FORWARDED = "X-Forwarded-For"


@pytest.fixture
async def container(config, clock):
    networks = ServerConfig.from_env({"BAS_TRUSTED_PROXIES": "10.0.0.0/8, fd00::/8"})
    async with served(config, clock, trusted_proxies=networks.trusted_proxies) as container:
        yield container


async def seen_address(container, peer, headers):
    """The address in the audit entry of a failed log-in."""
    await Caller(container.app, peer).post(
        "/auth/login", {"username": "operator", "password": "wrong"}, headers=headers
    )
    return (await audited(container, "LOGIN_FAILURE"))[0].address


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (PROXY, CLIENT, CLIENT),
        (PROXY, f"{CLIENT}, {INNER_PROXY}", CLIENT),
        (PROXY, f"1.2.3.4, {CLIENT}", CLIENT),
        (PROXY, f"1.2.3.4, {CLIENT}, {INNER_PROXY}", CLIENT),
        (PROXY, f"10.9.9.9, {CLIENT}", CLIENT),
        (PROXY, "2001:db8::7", "2001:db8::7"),
        ("fd00::1", CLIENT, CLIENT),
        (f"::ffff:{PROXY}", CLIENT, CLIENT),
        (PROXY, f"{CLIENT}:5678", CLIENT),
        (PROXY, "[2001:db8::7]:5678", "2001:db8::7"),
        (PROXY, "", PROXY),
        (PROXY, " , ", PROXY),
        (PROXY, INNER_PROXY, PROXY),
        (CLIENT, "1.2.3.4", CLIENT),
        (CLIENT, PROXY, CLIENT),
    ],
)
async def test_the_client_is_the_nearest_hop_that_is_no_trusted_proxy(
    container, peer, forwarded, address
):
    """ASVS 5.0 v5.0.0-4.1.3, 15.3.4: only a trusted proxy says who the caller is."""
    assert await seen_address(container, peer, {FORWARDED: forwarded}) == address


async def test_without_the_header_the_peer_is_the_client(container):
    assert await seen_address(container, PROXY, {}) == PROXY


async def test_without_the_setting_the_header_is_ignored(config, clock):
    async with served(config, clock) as container:
        assert await seen_address(container, PROXY, {FORWARDED: CLIENT}) == PROXY


@pytest.mark.parametrize("header", ["Remote-Addr", "X-Real-IP", "Forwarded", "Client-IP"])
async def test_no_other_header_determines_the_client(container, header):
    assert await seen_address(container, CLIENT, {header: "1.2.3.4"}) == CLIENT


async def test_attempts_are_counted_for_the_client_and_not_for_the_proxy(config, clock):
    networks = ServerConfig.from_env({"BAS_TRUSTED_PROXIES": PROXY}).trusted_proxies
    settings = {"trusted_proxies": networks, "auth_attempts_per_15min": 1}
    async with served(config, clock, **settings) as container:
        proxy = Caller(container.app, PROXY)
        proxy.headers[FORWARDED] = CLIENT
        assert (await proxy.log_in("operator", "wrong")).status == 401
        assert (await proxy.log_in("operator")).status == 429
        proxy.headers[FORWARDED] = "203.0.113.10"
        assert (await proxy.log_in("operator")).status == 200


@pytest.mark.parametrize("garbage", ["unknown", "x" * 4000, "é" * 900, "/_%", "1.2.3.4.5", "::g"])
async def test_a_hop_that_is_no_address_does_not_break_a_log_in(container, garbage):
    proxy = Caller(container.app, PROXY, headers={FORWARDED: garbage})
    assert (await proxy.log_in("operator", "wrong")).status == 401
    assert (await proxy.log_in("operator")).status == 200


@pytest.mark.parametrize(
    ("forwarded", "secure"),
    [("https", True), ("HTTPS", True), ("http", False), ("http, https", True), ("ftp", False)],
)
async def test_a_trusted_proxy_determines_the_scheme(container, forwarded, secure):
    caller = Caller(container.app, PROXY)
    answer = await caller.get("/", headers={"X-Forwarded-Proto": forwarded})
    assert ("Strict-Transport-Security" in answer.headers) is secure


def warnings(caplog):
    """What the log says of peers that are not trusted."""
    return [one.getMessage() for one in caplog.records if "X-Forwarded-For" in one.getMessage()]


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
async def test_a_peer_that_forwards_and_is_not_trusted_is_logged_once_with_the_setting(
    config, clock, caplog, trusted
):
    """ASVS 5.0 v5.0.0-15.3.4: everyone behind such a proxy has one address."""
    networks = ServerConfig.from_env({"BAS_TRUSTED_PROXIES": trusted} if trusted else {})
    async with served(config, clock, trusted_proxies=networks.trusted_proxies) as container:
        for peer in (CLIENT, "203.0.113.10", CLIENT):
            await Caller(container.app, peer).get("/healthz", headers={FORWARDED: "192.0.2.1"})
    (warning,) = warnings(caplog)
    assert warning.startswith(f"{CLIENT} sends X-Forwarded-For and is not in BAS_TRUSTED_PROXIES")
    assert f"add {CLIENT} to BAS_TRUSTED_PROXIES" in warning
    assert "20 failed log-ins" in warning


async def test_trusted_proxies_and_direct_callers_are_not_logged(container, caplog):
    await Caller(container.app, PROXY).get("/healthz", headers={FORWARDED: CLIENT})
    await Caller(container.app, CLIENT).get("/healthz")
    assert warnings(caplog) == []
