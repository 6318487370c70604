"""The cookies of a session: several names, so that servers on one host do not share a session."""

from __future__ import annotations

from http.cookies import SimpleCookie

import pytest

from tests.support.http import Caller, logged_in, served

PLAIN, HOST = "bas_session_id", "__Host-bas_session_id"


def jar(answer):
    """The cookies that an answer sets, by name."""
    lines = [line for name, line in answer.headers if name.lower() == "set-cookie"]
    assert len({line.partition("=")[0] for line in lines}) == len(lines)
    return {name: one for line in lines for name, one in SimpleCookie(line).items()}


def cookies(**values):
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in values.items())}


def at(container, host, scheme="http", **values):
    """A browser that calls the server by this host with these cookies."""
    return Caller(container.app, scheme=scheme, headers={"Host": host, **cookies(**values)})


async def who(caller):
    """The user of the caller's session; None without a live one."""
    answer = await caller.get("/auth/status")
    return answer.json()["user"]["username"] if answer.status == 200 else None


@pytest.fixture
async def secrets(container):
    """The secret ids of two live sessions, and of one that has ended."""
    reader, operator, ended = [
        await logged_in(container, name) for name in ("reader", "operator", "admin")
    ]
    await ended.post("/auth/logout")
    return {"reader": reader.session, "operator": operator.session, "ended": ended.session}


@pytest.mark.parametrize(
    ("host", "scheme", "names"),
    [
        ("localhost:8080", "http", {PLAIN, f"{PLAIN}_8080"}),
        ("localhost", "http", {PLAIN, f"{PLAIN}_80"}),
        ("[::1]:8080", "http", {PLAIN, f"{PLAIN}_8080"}),
        ("[::1]", "http", {PLAIN, f"{PLAIN}_80"}),
        ("127.0.0.1:0", "http", {PLAIN}),
        ("127.0.0.1:65536", "http", {PLAIN}),
        ("127.0.0.1:99999999999999999999", "http", {PLAIN}),
        ("127.0.0.1:", "http", {PLAIN}),
        ("localhost", "https", {PLAIN, f"{PLAIN}_443", HOST, f"{HOST}_443"}),
        ("localhost:8443", "https", {PLAIN, f"{PLAIN}_8443", HOST, f"{HOST}_8443"}),
    ],
)
async def test_a_log_in_sets_and_a_log_out_clears_every_name_of_the_port(
    container, host, scheme, names
):
    """ASVS v5.0.0-3.3.1, 3.3.2, 3.3.3, 3.3.4; 7.4.1 for the log-out."""
    browser = at(container, host, scheme)
    entered = jar(await browser.log_in("reader"))
    assert entered.keys() == names
    assert {cookie.value for cookie in entered.values()} == {browser.session}
    left = jar(await browser.post("/auth/logout"))
    assert left.keys() == names
    assert {(cookie.value, cookie["max-age"]) for cookie in left.values()} == {("", "0")}
    for cookie in (*entered.values(), *left.values()):
        assert (cookie["path"], cookie["domain"], cookie["samesite"]) == ("/", "", "Strict")
        assert cookie["httponly"] is True
        assert bool(cookie["secure"]) is (scheme == "https")


@pytest.mark.parametrize(
    ("setting", "scheme", "twins"),
    [("always", "http", True), ("never", "https", False), ("auto", "https", True)],
)
async def test_a_name_with_the_host_prefix_is_set_exactly_where_the_cookie_is_secure(
    config, clock, setting, scheme, twins
):
    """ASVS v5.0.0-3.3.3: a browser refuses the prefix without Secure."""
    async with served(config, clock, cookie_secure=setting) as container:
        entered = jar(await at(container, "localhost", scheme).log_in("reader"))
    assert (HOST in entered) is twins
    assert {bool(cookie["secure"]) for cookie in entered.values()} == {twins}


async def test_the_first_cookie_of_a_log_in_is_the_one_of_the_existing_server(container):
    answer = await at(container, "localhost:8080", "https").log_in("reader")
    assert answer.headers["Set-Cookie"].startswith(f"{PLAIN}=")


@pytest.mark.parametrize("name", [PLAIN, f"{PLAIN}_8080", HOST, f"{HOST}_8080"])
async def test_every_name_alone_is_a_session(container, secrets, name):
    assert await who(at(container, "localhost:8080", **{name: secrets["reader"]})) == "reader"


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (f"{PLAIN}_8080", PLAIN),
        (HOST, PLAIN),
        (HOST, f"{PLAIN}_8080"),
        (f"{HOST}_8080", HOST),
        (f"{HOST}_8080", f"{PLAIN}_8080"),
    ],
)
async def test_of_two_cookies_the_one_that_is_harder_to_plant_counts(
    container, secrets, winner, loser
):
    """ASVS v5.0.0-3.3.3: only this host over https can have set one with the prefix."""
    both = {winner: secrets["reader"], loser: secrets["operator"]}
    for order in (both, dict(reversed(both.items()))):
        assert await who(at(container, "localhost:8080", **order)) == "reader"
    both[winner] = secrets["ended"]
    assert await who(at(container, "localhost:8080", **both)) == "operator"


async def test_the_cookie_of_another_port_is_no_session_here(container, secrets):
    assert await who(at(container, "localhost:8080", bas_session_id_8081=secrets["reader"])) is None


@pytest.mark.parametrize("name", [f"{PLAIN}_8080", f"{PLAIN}_9", HOST, f"{HOST}_8080"])
async def test_a_form_with_any_of_the_session_cookies_is_refused(container, secrets, name):
    """ASVS v5.0.0-3.5.1."""
    browser = at(container, "localhost:8080", **{name: secrets["operator"]})
    answer = await browser.open(
        "POST",
        "/api/set_setpoint",
        data='{"setpoint_tenths": 210}',
        headers={"Content-Type": "text/plain"},
    )
    assert (answer.status, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_log_in_ends_the_session_that_it_replaces_in_the_browser(container, secrets):
    """ASVS v5.0.0-7.2.4."""
    old = at(container, "localhost:8080", bas_session_id_8080=secrets["operator"])
    assert (await old.post("/auth/login", {"username": "reader", "password": "wrong one"})).status
    assert await who(old) == "operator"
    answer = await old.log_in("reader")
    assert answer.status == 200
    assert answer.cookie().value not in secrets.values()
    del old.headers["X-Session-ID"]
    assert await who(old) is None


@pytest.mark.parametrize("route", ["log in", "log out"])
async def test_a_session_of_another_port_lives_on_although_its_plain_cookie_came(
    container, secrets, route
):
    """Both ports belong to one site here: the worst case, since its sessions are known to both."""
    other = {"bas_session_id_8081": secrets["operator"], PLAIN: secrets["operator"]}
    browser = at(container, "localhost:8080", **other)
    answer = await (browser.log_in("reader") if route == "log in" else browser.post("/auth/logout"))
    assert answer.status == 200
    assert await who(at(container, "localhost:8081", **other)) == "operator"


async def test_a_log_out_ends_every_session_that_the_browser_has_here(container, secrets):
    """ASVS v5.0.0-7.4.1."""
    mine = {f"{PLAIN}_8080": secrets["reader"], PLAIN: secrets["operator"]}
    browser = at(container, "localhost:8080", **mine)
    assert (await browser.post("/auth/logout")).status == 200
    assert await who(browser) is None
    assert await who(at(container, "localhost:8080", **{PLAIN: secrets["operator"]})) is None


@pytest.mark.parametrize("many", [2, 600])
async def test_many_cookies_of_one_name_are_answered_as_a_session_or_as_none(
    container, secrets, many
):
    line = "; ".join([f"{PLAIN}={secrets['reader']}", *[f"{PLAIN}=x{n:040}" for n in range(many)]])
    for cookie in (line, "; ".join(reversed(line.split("; ")))):
        answer = await Caller(container.app).get("/auth/status", headers={"Cookie": cookie})
        assert answer.status in {200, 401}


@pytest.mark.parametrize(
    "path",
    ["/auth/status", "/auth/login", "/auth/nothing", "/api/telemetry", "/api/status", "/api/config",
     "/api/devices", "/api/audit/recent", "/api/set_setpoint"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["admin", "reader", None])
async def test_no_answer_that_a_session_sees_may_be_stored(container, path, name):
    """ASVS v5.0.0-14.3.2: also a refusal."""
    caller = await logged_in(container, name) if name else Caller(container.app)
    answer = await caller.get(path)
    public = name is None and path in {"/api/status", "/api/config"}
    # Of a path that takes no GET the guard never hears.
    unguarded = path == "/api/set_setpoint"
    if not public and not unguarded:
        assert answer.headers["Cache-Control"] == "no-store"


async def test_log_in_log_out_and_a_change_may_not_be_stored(container):
    """ASVS v5.0.0-14.3.2."""
    caller = Caller(container.app)
    answers = [
        await caller.log_in("operator"),
        await caller.post("/api/set_setpoint", {"setpoint_tenths": 210}),
        await caller.post("/api/set_setpoint", {"setpoint_tenths": 1}),
        await caller.post("/auth/logout"),
        await caller.log_in("operator", "wrong password"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 400, 200, 401]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"no-store"}


async def test_a_stream_keeps_the_rule_that_its_clients_know(container):
    reader = await logged_in(container, "reader")
    answer = await reader.open("HEAD", "/api/sse/telemetry")
    assert answer.headers["Cache-Control"] == "no-cache, no-transform"
