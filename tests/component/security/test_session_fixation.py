"""A session id is made by the server at log-in, and by nobody else (ASVS 5.0.0, V7.2)."""

from __future__ import annotations

import re

import pytest

from server.http.openapi.document import every_operation
from server.http.query_names import LENIENT
from tests.component.security.access_table import ROWS
from tests.component.security.principals import NOBODY, OWN_KEY, READER, all_principals
from tests.conftest import PASSWORD
from tests.support.http import Caller, logged_in

CREDENTIALS = {"username": "operator", "password": PASSWORD}
JSON = {"Content-Type": "application/json"}
CHOSEN = "chosen-by-the-attacker-0123456789abcdefghij"


def cookies(answer):
    """The values of all cookies that an answer sets."""
    return [one.partition(";")[0].partition("=")[2] for one in answer.headers.getlist("Set-Cookie")]


async def is_alive(container, secret):
    headers = {"Cookie": f"bas_session_id={secret}"}
    return (await Caller(container.app).get("/api/telemetry", headers=headers)).status == 200


@pytest.mark.parametrize(
    "brought",
    [
        {"Cookie": f"bas_session_id={CHOSEN}"},
        {"Cookie": f"__Host-bas_session_id={CHOSEN}; bas_session_id_8080={CHOSEN}"},
        {"X-Session-ID": CHOSEN},
    ],
)
async def test_a_log_in_never_adopts_a_session_id_that_the_client_brings(container, brought):
    """ASVS 5.0.0 V7.2.4: a new session token at authentication."""
    answer = await Caller(container.app).post("/auth/login", CREDENTIALS, headers=brought)
    assert answer.status == 200
    assert cookies(answer)
    assert CHOSEN not in cookies(answer)
    assert await is_alive(container, cookies(answer)[0])
    assert not await is_alive(container, CHOSEN)


@pytest.mark.parametrize("field", ["session_id", "bas_session_id", "id", "session"])
async def test_a_log_in_takes_no_session_id_from_its_body_or_address(container, field):
    """ASVS 5.0.0 V7.2.4, V15.3.3: fields that a log-in does not have are of no use."""
    anyone = Caller(container.app)
    answer = await anyone.post(f"/auth/login?{field}={CHOSEN}", CREDENTIALS | {field: CHOSEN})
    assert CHOSEN not in str(answer.headers)
    assert not await is_alive(container, CHOSEN)


async def test_an_attacker_s_own_session_does_not_become_the_victim_s(container):
    """ASVS 5.0.0 V7.2.4: the id that was set before the log-in does not get the victim's rights."""
    attacker = await logged_in(container, "reader")
    known = attacker.session
    victim = Caller(container.app, headers={"Cookie": f"bas_session_id={known}"})
    answer = await victim.post("/auth/login", CREDENTIALS)
    assert (answer.status, known in cookies(answer)) == (200, False)
    change = await attacker.post("/api/set_setpoint", {"setpoint_tenths": 210})
    assert change.status in {401, 403}


async def test_a_session_that_has_ended_does_not_come_back_with_the_next_log_in(container):
    """ASVS 5.0.0 V7.4.1: a session that has ended is of no further use."""
    ended = await logged_in(container, "operator")
    assert (await ended.post("/auth/logout")).status == 200
    headers = {"Cookie": f"bas_session_id={ended.session}"}
    await Caller(container.app, headers=headers).post("/auth/login", CREDENTIALS)
    assert not await is_alive(container, ended.session)


async def test_session_ids_are_long_random_and_only_in_the_cookie(container):
    """ASVS 5.0.0 V7.2.3, V3.3.4: at least 128 random bits, and only in Set-Cookie."""
    answers = [await Caller(container.app).post("/auth/login", CREDENTIALS) for _ in range(20)]
    secrets = {cookies(answer)[0] for answer in answers}
    assert len(secrets) == len(answers)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", secret) for secret in secrets)  # 256 bits
    for place in range(43):  # no part of it is the same each time
        assert len({secret[place] for secret in secrets}) > 1
    assert not any(cookies(answer)[0].encode() in answer.body for answer in answers)


async def test_no_route_takes_a_session_or_a_key_from_its_address(container, clock):
    """ASVS 5.0.0 V14.2.1: addresses are logged and remembered, so they carry no secret."""
    principals = await all_principals(container, clock)
    session = principals[READER]["Cookie"].partition("=")[2]
    key = principals[OWN_KEY]["X-Device-Key"]
    names = ("bas_session_id", "session_id", "session", "X-Session-ID", "x-session-id")
    query = "&".join([f"{name}={session}" for name in names] + [f"X-Device-Key={key}&key={key}"])
    anyone = Caller(container.app)
    own = {key.partition(" ")[2] for key, _, _ in every_operation()}
    strict = {path for path in own - LENIENT if path.startswith(("/api/", "/auth/"))}
    for row in ROWS:
        if NOBODY in row.refused:
            url = f"{row.url or row.path}?{query}"
            body = row.body.replace("@", "250")
            answer = await anyone.open(row.method, url, data=body, headers=JSON)
            status, code = row.refused[NOBODY]
            if row.path in strict:
                status, code = 400, "UNKNOWN_QUERY"  # these routes refuse any such query
            assert (answer.status, code.encode() in answer.body) == (status, True), str(row)
