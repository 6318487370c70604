"""How long a session lives: requests of people extend it, up to its longest life."""

from __future__ import annotations

import asyncio

import pytest

from server.services.ports.documents import Put, Query
from server.services.sse_service.stream_request import StreamRequest
from tests.support.http import Caller, logged_in, lose_store, served
from tests.support.stream import FrameSplitter, eventually

ACTIVE = {"X-User-Active": "1"}


@pytest.fixture
async def reader(container):
    return await logged_in(container, "reader")


async def use(caller, path="/auth/status", **more):
    return await caller.get(path, headers=ACTIVE | more)


async def left_s(caller):
    """The seconds until the session ends; None if it has ended."""
    answer = await caller.get("/auth/status")
    return answer.json()["expires_in"] if answer.status == 200 else None


async def versions(container):
    """The version of each session's document, which changes with every write."""
    page = await container.base.client.query(Query("sessions"), 10)
    return {document.version for document in page.documents}


async def test_a_session_lives_on_while_a_person_uses_it(reader, clock):
    """ASVS v5.0.0-7.3.1: only inactivity ends it before its longest life."""
    for _ in range(4):
        clock.advance(1799)
        assert (await use(reader)).json()["expires_in"] == 1800
    clock.advance(1800)
    assert await left_s(reader) is None


@pytest.mark.parametrize("value", [None, "0", "true", "", "1 "])
async def test_requests_that_no_person_made_do_not_extend_a_session(reader, clock, value):
    """ASVS v5.0.0-7.3.1: a page that polls does not stay logged in for ever."""
    headers = {} if value is None else {"X-User-Active": value}
    clock.advance(1000)
    for path in ("/auth/status", "/api/telemetry", "/api/status", "/api/devices"):
        assert (await reader.get(path, headers=headers)).status == 200
    assert await left_s(reader) == 800


async def test_opening_a_stream_does_not_extend_a_session_whatever_the_request_says(reader, clock):
    """ASVS v5.0.0-7.3.1: a stream that reconnects by itself shows nobody at the page."""
    clock.advance(1000)
    answer = await reader.open("HEAD", "/api/sse/telemetry", headers=ACTIVE)
    assert answer.status == 200
    assert await left_s(reader) == 800


@pytest.mark.parametrize(
    ("name", "path"),
    [("reader", "/api/telemetry"), ("reader", "/api/status"), ("admin", "/api/audit/recent")],
)
async def test_a_person_s_request_to_any_other_route_extends_the_session(
    container, clock, name, path
):
    caller = await logged_in(container, name)
    clock.advance(1000)
    assert (await use(caller, path)).status == 200
    assert await left_s(caller) == 1800


async def test_a_change_that_a_person_makes_extends_the_session(container, clock):
    caller = await logged_in(container, "operator")
    clock.advance(1000)
    answer = await caller.post("/api/set_setpoint", {"setpoint_tenths": 210}, headers=ACTIVE)
    assert answer.status == 200
    assert await left_s(caller) == 1800


async def test_a_session_ends_after_its_longest_life_however_it_is_used(container, clock):
    """ASVS v5.0.0-7.3.2."""
    caller = await logged_in(container, "reader")
    for _ in range(43_200 // 1200):
        clock.advance(1200)
        answer = await use(caller)
    assert answer.status == 401
    other = await logged_in(container, "reader")
    clock.advance(42_000 % 1799)
    assert await left_s(other) is not None


async def test_the_last_extension_reaches_to_the_longest_life_and_no_further(config, clock):
    """ASVS v5.0.0-7.3.2."""
    async with served(config, clock, session_absolute=4000) as container:
        caller = await logged_in(container, "reader")
        clock.advance(1700)
        assert (await use(caller)).json()["expires_in"] == 1800
        clock.advance(1700)
        assert (await use(caller)).json()["expires_in"] == 600
        clock.advance(599)
        assert (await use(caller)).json()["expires_in"] == 1
        clock.advance(1)
        assert await left_s(caller) is None


async def test_a_session_is_written_once_a_minute_however_much_it_is_used(container, reader, clock):
    seen = set()
    for _ in range(121):
        clock.advance(1)
        await use(reader)
        seen |= await versions(container)
    assert len(seen) == 3


async def test_of_many_requests_at_once_one_extends_the_session(container, reader, clock):
    clock.advance(100)
    sessions = container.base.auth.sessions
    session, _ = await sessions.resolve([reader.session])
    after = await asyncio.gather(*(sessions.extended(session) for _ in range(20)))
    assert len([one for one in after if one.expire_at > session.expire_at]) == 1
    answers = await asyncio.gather(*(use(reader, "/api/telemetry") for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert await left_s(reader) == 1800


async def test_the_cookies_that_brought_a_session_live_as_long_as_it(container, reader, clock):
    names = {"bas_session_id_8080", "bas_session_id"}
    cookie = "; ".join(f"{name}={reader.session}" for name in names)
    browser = Caller(container.app, headers={"Host": "localhost:8080", "Cookie": cookie})
    clock.advance(100)
    answer = await use(browser)
    renewed = [line for name, line in answer.headers if name.lower() == "set-cookie"]
    assert {line.partition("=")[0] for line in renewed} == names
    for line in renewed:
        assert f"={reader.session}; " in line
        assert "Max-Age=1800" in line
        assert "HttpOnly" in line
        assert "SameSite=Strict" in line
    clock.advance(59)
    assert "Set-Cookie" not in (await use(browser)).headers
    clock.advance(1)
    assert "Set-Cookie" in (await use(browser)).headers


async def test_a_cookie_of_another_session_is_not_renewed(container, reader, clock):
    other = await logged_in(container, "operator")
    cookie = f"bas_session_id_80={reader.session}; bas_session_id={other.session}"
    clock.advance(100)
    answer = await use(Caller(container.app, headers={"Cookie": cookie}))
    renewed = [line for name, line in answer.headers if name.lower() == "set-cookie"]
    assert [line.partition("=")[0] for line in renewed] == ["bas_session_id_80"]


async def test_a_session_that_ends_during_its_extension_stays_ended(container, reader, clock):
    """ASVS v5.0.0-7.4.1."""
    clock.advance(100)
    sessions = container.base.auth.sessions
    session, _ = await sessions.resolve([reader.session])
    await reader.post("/auth/logout")
    with pytest.raises(Exception, match="Invalid or expired session"):
        await sessions.extended(session)
    assert await left_s(reader) is None


async def test_a_session_of_an_earlier_version_is_extended_too(container, reader, clock):
    client = container.base.client
    (document,) = (await client.query(Query("sessions"), 10)).documents
    old = {
        key: value
        for key, value in document.fields.items()
        if key not in {"last_access", "agent_changed"}
    }
    await client.write([Put("sessions", document.id, old)])
    clock.advance(1000)
    assert (await use(reader)).json()["expires_in"] == 1800


async def test_the_limit_of_sessions_ends_the_oldest_log_in_even_if_it_was_used_last(
    container, clock
):
    """ASVS v5.0.0-7.1.2 asks to say which session goes: BAS_MAX_CONCURRENT_SESSIONS does."""
    callers = []
    for _ in range(3):
        callers.append(await logged_in(container, "reader"))
        clock.advance(60)
    await use(callers[0])
    callers.append(await logged_in(container, "reader"))
    assert [await left_s(caller) is not None for caller in callers] == [False, True, True, True]


async def test_without_the_store_a_request_is_refused_and_not_extended(container, reader, clock):
    clock.advance(100)
    await lose_store(container)
    assert (await use(reader)).status == 503


async def test_a_stream_follows_a_session_that_another_process_extends(config, clock):
    """The session would end at 1800 s; an open dashboard in another process must not go dark."""
    async with served(config, clock) as one, served(config, clock) as other:
        caller = await logged_in(one, "reader")
        sessions = one.base.auth.sessions
        principal = sessions.principal(*await sessions.resolve([caller.session]))
        stream = await one.sse.subscribe(
            StreamRequest("default", owner=principal.owner, end=principal.end)
        )
        ends: list[int] = []
        splitter = FrameSplitter()

        async def read() -> None:
            async for piece in stream:
                for frame in splitter.feed(piece):
                    if frame.event == "session":
                        ends.append(frame.json["ends_at"] - frame.json["ts"])

        reading = asyncio.create_task(read())
        clock.advance(1700)
        await eventually(lambda: ends == [100_000], "the stream says that the session ends")
        used = await use(Caller(other.app, headers=caller.headers))
        assert used.json()["expires_in"] == 1800
        await eventually(lambda: ends == [100_000, 1_800_000], "the stream says the new end")
        clock.advance(1799)
        await eventually(lambda: ends[2:] == [1000], "the stream is still open")
        clock.advance(1)
        async with asyncio.timeout(60):
            await reading
        stream.close()
