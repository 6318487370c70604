"""/auth/login, /auth/logout and /auth/status: answers, errors and the cookie."""

from __future__ import annotations

import pytest

from tests.conftest import PASSWORD
from tests.support.http import Caller, logged_in, served

GOOD = {"username": "operator", "password": PASSWORD}


@pytest.fixture
def browser(container):
    return Caller(container.app)


async def test_the_right_password_logs_in(browser):
    answer = await browser.post("/auth/login", GOOD)
    assert answer.status == 200
    assert answer.json() == {
        "status": "success",
        "expires_in": 1800,
        "user": {"username": "operator", "role": "operator"},
    }


async def test_the_cookie_is_same_site_and_http_only_and_lasts_as_long_as_the_session(browser):
    cookie = (await browser.post("/auth/login", GOOD)).cookie()
    assert len(cookie.value) >= 32
    assert cookie["httponly"] is True
    assert cookie["samesite"] == "Strict"
    assert cookie["max-age"] == "1800"
    assert cookie["path"] == "/"
    assert cookie["domain"] == ""


@pytest.mark.parametrize(
    ("setting", "scheme", "secure"),
    [
        ("auto", "http", False),
        ("auto", "https", True),
        ("always", "http", True),
        ("always", "https", True),
        ("never", "http", False),
        ("never", "https", False),
    ],
)
async def test_the_cookie_is_secure_as_configured(config, clock, setting, scheme, secure):
    async with served(config, clock, cookie_secure=setting) as container:
        browser = Caller(container.app, scheme=scheme)
        for answer in (await browser.log_in("operator"), await browser.post("/auth/logout")):
            assert bool(answer.cookie()["secure"]) is secure


async def test_the_answer_and_the_cookie_contain_the_session_timeout(config, clock):
    async with served(config, clock, session_timeout=60) as container:
        answer = await Caller(container.app).post("/auth/login", GOOD)
    assert answer.json()["expires_in"] == 60
    assert answer.cookie()["max-age"] == "60"


async def test_a_session_works_as_a_cookie_and_as_a_header(browser):
    secret = (await browser.post("/auth/login", GOOD)).cookie().value
    for headers in ({"Cookie": f"bas_session_id={secret}"}, {"X-Session-ID": secret}):
        assert (await browser.get("/auth/status", headers=headers)).status == 200
        assert (await browser.get("/api/telemetry", headers=headers)).status == 200


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        "{ }",
        '{"username": "operator"}',
        '{"password": "x"}',
        '{"username": "", "password": "x"}',
        '{"username": "operator", "password": ""}',
    ],
)
async def test_a_log_in_without_name_or_password_is_refused_as_missing_fields(browser, body):
    answer = await browser.post_text("/auth/login", body)
    assert answer.status == 400
    assert answer.json() == {"error": "Missing required fields", "code": "MISSING_FIELDS"}


@pytest.mark.parametrize("name", ["operator", "nobody", "Operator", "operator ", "../operator"])
async def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(browser, name):
    answer = await browser.log_in(name, "wrong password")
    assert answer.status == 401
    assert answer.json() == {"error": "Invalid credentials", "code": "AUTH_FAILED"}
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "name", ["\x00", "a\x00b", "%" * 256, "😀" * 256, ".", "..", "__x__", "a/b", "\u2028", "\n"]
)
async def test_a_log_in_with_any_text_as_name_is_answered_as_failed(browser, name):
    answer = await browser.log_in(name, "wrong password")
    assert (answer.status, answer.json()["code"]) == (401, "AUTH_FAILED")


@pytest.mark.parametrize(
    "password", ["\x00", "x" * 4096, "😀" * 1025, PASSWORD + " ", PASSWORD.upper(), "$argon2id$"]
)
async def test_a_log_in_with_any_text_as_password_is_answered_as_failed(browser, password):
    answer = await browser.log_in("operator", password)
    assert (answer.status, answer.json()["code"]) == (401, "AUTH_FAILED")


@pytest.mark.parametrize(
    ("field", "value"),
    [("username", 1), ("username", "x" * 257), ("password", None), ("password", "x" * 4097)],
)
async def test_an_invalid_field_is_refused_with_its_name(browser, field, value):
    answer = await browser.post("/auth/login", GOOD | {field: value})
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert field in answer.json()["message"]


async def test_malformed_json_gets_400_and_a_form_gets_415(browser):
    answer = await browser.post_text("/auth/login", "{")
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_JSON")
    answer = await browser.open("POST", "/auth/login", form=GOOD)
    assert (answer.status, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_status_of_a_session_has_its_user_and_its_remaining_time(container, clock):
    browser = await logged_in(container, "operator")
    login_ms = clock.now_ms()
    clock.advance(100)
    answer = await browser.get("/auth/status")
    assert answer.status == 200
    assert answer.json() == {
        "status": "valid",
        "user": {
            "username": "operator",
            "role": "operator",
            "login_time": login_ms // 1000,
            "login_time_ms": login_ms,
        },
        "expires_in": 1700,
        "kind": "session",
    }


async def test_status_without_a_session_gets_400(browser):
    answer = await browser.get("/auth/status")
    assert answer.status == 400
    assert answer.json() == {"error": "No session provided", "code": "NO_SESSION"}


@pytest.mark.parametrize("secret", ["short", "no-such-session", "x" * 300])
async def test_status_of_an_unknown_session_gets_401(browser, secret):
    answer = await browser.get("/auth/status", headers={"X-Session-ID": secret})
    assert answer.status == 401
    assert answer.json()["error"] == "Invalid or expired session"
    assert answer.json()["code"] == "SESSION_INVALID"


async def test_logout_ends_the_session_and_clears_the_cookie(container):
    browser = await logged_in(container, "operator")
    answer = await browser.post("/auth/logout")
    assert answer.status == 200
    assert answer.json() == {"status": "success", "message": "Logged out successfully"}
    assert (answer.cookie().value, answer.cookie()["max-age"]) == ("", "0")
    assert (await browser.get("/auth/status")).status == 401
    assert (await browser.get("/api/telemetry")).status == 401


async def test_logout_with_a_cookie_needs_no_body(container):
    browser = await logged_in(container, "operator")
    cookie = {"Cookie": f"bas_session_id={browser.headers.pop('X-Session-ID')}"}
    assert (await browser.post("/auth/logout", headers=cookie)).status == 200
    assert (await browser.get("/auth/status", headers=cookie)).status == 401


async def test_logout_may_name_the_session_in_its_body(container):
    browser = await logged_in(container, "operator")
    other = Caller(container.app)
    answer = await other.post("/auth/logout", {"session_id": browser.session})
    assert answer.status == 200
    assert (await browser.get("/auth/status")).status == 401


@pytest.mark.parametrize("body", [None, {}, {"session_id": None}, {"session_id": "unknown"}])
async def test_logout_without_a_session_succeeds(browser, body):
    answer = await browser.post("/auth/logout", body)
    assert answer.status == 200
    assert answer.json() == {"status": "success", "message": "Logged out successfully"}


async def test_logout_ends_one_session_and_not_the_others_of_the_user(container):
    one, two = [await logged_in(container, "operator") for _ in range(2)]
    await one.post("/auth/logout")
    assert (await two.get("/auth/status")).status == 200


async def test_every_log_in_creates_a_new_session(browser):
    secrets = {(await browser.post("/auth/login", GOOD)).cookie().value for _ in range(3)}
    assert len(secrets) == 3
