"""Displays of wall screens: a link that opens once, and a cookie that stays until it is revoked."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest

from bas_server import open_container
from tests.support.http import Caller, audited, logged_in, reading, served
from tests.support.tokens import revoke, sending, token

LINK = "/auth/display"


async def link(container, name="lobby", **about):
    """The secret of a new display's link."""
    return await token(container, name, display=True, **about)


async def opened(container, secret, **request):
    return await Caller(container.app, **request).post(LINK, {"secret": secret})


def screen_of(container, answer):
    """A browser with the cookie of this answer."""
    (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
    return Caller(container.app, headers={"Cookie": f"{cookie.key}={cookie.value}"})


async def screen(container, name="lobby", **about):
    return screen_of(container, await opened(container, await link(container, name, **about)))


async def test_a_link_makes_one_browser_a_display_and_works_no_second_time(container):
    """OWASP ASVS 5.0, V6.5.1: it is used once, also if it was read by others."""
    secret = await link(container)
    first = await opened(container, secret)
    assert (first.status, first.json()) == (200, {"status": "success", "display": "lobby"})
    for _ in range(2):
        again = await opened(container, secret)
        assert (again.status, again.json()["code"]) == (404, "LINK_UNKNOWN")
        assert "Set-Cookie" not in again.headers
    assert (await screen_of(container, first).get("/api/telemetry")).status == 200
    (entry,) = await audited(container, "DISPLAY_OPENED")
    assert (entry.username, entry.details["token"]) == ("display:lobby", "lobby")


async def test_a_link_is_no_token_and_no_cookie_and_its_display_s_cookie_is_no_token(container):
    """OWASP ASVS 5.0, V8.2.1: a secret works only for what it was made for."""
    secret = await link(container)
    assert (await sending(container, secret).get("/api/telemetry")).status == 401
    unopened = Caller(container.app, headers={"Cookie": f"bas_display_80={secret}"})
    assert (await unopened.get("/api/telemetry")).status == 401
    display = screen_of(container, await opened(container, secret))
    cookie = display.headers["Cookie"].partition("=")[2]
    assert (await sending(container, cookie).get("/api/telemetry")).status == 401
    assert (await opened(container, cookie)).status == 404
    assert (await opened(container, await token(container))).status == 404


@pytest.mark.parametrize(
    ("scheme", "name", "secure"),
    [("http", "bas_display_80", False), ("https", "__Host-bas_display_443", True)],
)
async def test_the_cookie_is_hidden_from_scripts_and_other_sites_and_lasts_as_long_as_browsers_let(
    container, scheme, name, secure
):
    """OWASP ASVS 5.0, V3.3.1 to V3.3.4: Secure, SameSite, __Host- and HttpOnly."""
    answer = await opened(container, await link(container), scheme=scheme)
    (cookie,) = SimpleCookie(answer.headers["Set-Cookie"]).values()
    assert (cookie.key, bool(cookie["secure"])) == (name, secure)
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert (cookie["domain"], cookie["max-age"]) == ("", str(400 * 86_400))


async def test_a_display_only_reads_and_stays_without_any_use_for_years(container, clock):
    """OWASP ASVS 5.0, V7.3.1: it has no time-out, since it may do nothing but show."""
    await Caller(container.app).post("/api/sensor_data", reading(250, device_id="lab"))
    lobby = await screen(container)
    clock.advance(5 * 365 * 86_400)
    assert (await lobby.get("/api/telemetry")).json()[0]["device_id"] == "lab"
    status = await lobby.get("/auth/status")
    assert (status.json()["kind"], status.json()["user"]["role"]) == ("display", "read-only")
    renewed = screen_of(container, status)
    assert renewed.headers == lobby.headers
    for path, body in (
        ("/api/set_setpoint", {"setpoint_tenths": 210}),
        ("/api/devices/register", {"device_id": "x"}),
        ("/api/sensor_data", reading()),
        ("/auth/password", {"old_password": "x", "password": "y"}),
    ):
        answer = await lobby.post(path, body)
        assert (answer.status, answer.json()["code"]) == (403, "PERMISSION_DENIED"), path


async def test_a_display_survives_a_restart_and_ends_when_it_is_revoked(config, clock):
    """OWASP ASVS 5.0, V7.4.1: it ends when an admin says so."""
    async with served(config, clock) as container:
        lobby = await screen(container)
    async with served(config, clock) as container:
        restarted = Caller(container.app, headers=lobby.headers)
        assert (await restarted.get("/api/telemetry")).status == 200
        await revoke(container, "lobby")
        answer = await restarted.get("/auth/status")
        assert (answer.status, answer.json()["code"]) == (401, "INVALID_TOKEN")
        assert "Set-Cookie" not in answer.headers
        assert (await restarted.get("/api/telemetry")).status == 401


async def test_a_person_who_logs_in_on_a_wall_screen_counts_until_the_session_ends(container):
    lobby = await screen(container)
    operator = await logged_in(container, "operator")
    both = f"{lobby.headers['Cookie']}; bas_session_id={operator.session}"
    browser = Caller(container.app, headers={"Cookie": both})
    assert (await browser.get("/auth/status")).json()["user"]["username"] == "operator"
    await operator.post("/auth/logout")
    assert (await browser.get("/auth/status")).json()["user"]["username"] == "display:lobby"


async def test_a_link_that_nobody_opens_ends_after_a_day(container, clock):
    """OWASP ASVS 5.0, V6.5.5: a link ends by itself."""
    first, second = await link(container, "first"), await link(container, "second")
    clock.advance(86_399)
    assert (await opened(container, first)).status == 200
    clock.advance(1)
    assert (await opened(container, second)).status == 404
    states = {one.name: one.kind for one in await container.base.auth.tokens.listed(None)}
    assert states == {"first": "display", "second": "link"}


async def test_a_display_of_some_zones_shows_these_alone(container):
    for device_id in ("attic", "lab"):
        await Caller(container.app).post("/api/sensor_data", reading(device_id=device_id))
    lobby = await screen(container, zones=("lab",))
    answer = await lobby.get("/api/telemetry")
    assert {row["device_id"] for row in answer.json()} == {"lab"}
    assert (await lobby.get("/api/telemetry?device_id=attic")).status == 403


async def test_the_page_of_a_link_uses_nothing_up_whoever_fetches_it(container):
    """OWASP ASVS 5.0, V14.2.1: the secret is behind the `#`, which no request contains."""
    secret = await link(container)
    for method in ("GET", "HEAD"):
        page = await Caller(container.app).open(method, LINK)
        assert page.status == 200
        assert "Set-Cookie" not in page.headers
    assert (await opened(container, secret)).status == 200


async def test_another_process_knows_an_opened_display(config, container, clock):
    async with open_container(config, clock) as other:
        lobby = await screen(container)
        there = Caller(other.app, headers=lobby.headers)
        assert (await there.get("/api/telemetry")).status == 200


@pytest.mark.parametrize(
    "body", ['{"secret": 1}', '{"secret": "%s"}' % ("x" * 257), "{}", '{"other": ""}', "["]
)
async def test_a_body_that_is_no_secret_is_refused(container, body):
    assert (await Caller(container.app).post_text(LINK, body)).status == 400
