"""A stream ends with its session, whatever ends the session and in whatever process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from bas_server import open_base
from server.auth.accounts import AccountService
from server.commands.admin import console
from server.config.config import ServerConfig
from tests.support.stream import (
    Frame,
    StreamClient,
    caller,
    log_in,
    post_reading,
)
from tools.process import ServerProcess, run_command

PASSWORD = "correct horse"
CONSOLE = console()
SESSION_S = 10
# The contract gives a stream 5 s after its session.
GONE_S = 5.0
USERS = {
    "leaver": "read-only",
    "bystander": "read-only",
    "changed": "operator",
    "locked": "read-only",
    "lowered": "operator",
    "deleted": "read-only",
    "crowded": "read-only",
    "expiring": "read-only",
}


class Site(NamedTuple):
    """A running server and its folder."""

    server: ServerProcess
    folder: Path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("endings")

    async def create_users() -> None:
        async with open_base(ServerConfig(data_dir=folder)) as base:
            for name, role in USERS.items():
                await base.admin.create_user(name, PASSWORD, role, "default")

    asyncio.run(create_users())
    settings = {"BAS_SESSION_TIMEOUT": str(SESSION_S), "BAS_MAX_LOGIN_ATTEMPTS": "3"}
    with ServerProcess(folder, **settings) as server:
        yield Site(server, folder)


@pytest.fixture
async def bystander(site: Site) -> AsyncIterator[StreamClient]:
    """The stream of another user, which must stay open after the test."""
    async with await opened(site, await log_in(site.server.url, "bystander", PASSWORD)) as stream:
        yield stream
        async with caller(site.server.url) as device:
            await post_reading(device, "last-word", 230)
        (event,) = await stream.live(1)
        assert event.json["device_id"] == "last-word"


async def opened(site: Site, session: str) -> StreamClient:
    """Open a stream and read its opening frames."""
    stream = await StreamClient.open(site.server.port, session=session)
    await stream.opening()
    return stream


def without_asides(frames: list[Frame]) -> list[Frame]:
    """These but for events of zones and their alarms, and of the session, which is always about to
    end here.

    A zone is silent ten seconds after an earlier test has posted.
    """
    return [frame for frame in frames if frame.event not in {"zone", "alarm", "session"}]


async def ends_in_time(site: Site, stream: StreamClient, session: str) -> list[Frame]:
    """Wait for a proper end of the stream, after which its session can open no other; returns the
    last frames."""
    frames = without_asides(await stream.rest(GONE_S))
    assert not stream.cut
    await stream.close()
    async with await StreamClient.open(site.server.port, session=session) as again:
        assert again.status in {401, 403, 423}
    return frames


async def test_a_logout_ends_the_stream_of_that_session_and_no_other(
    site: Site, bystander: StreamClient
) -> None:
    sessions = [await log_in(site.server.url, "leaver", PASSWORD) for _ in range(2)]
    leaving, staying = [await opened(site, session) for session in sessions]
    async with caller(site.server.url, sessions[0]) as client:
        assert (await client.post("/auth/logout")).status_code == 200
        assert await ends_in_time(site, leaving, sessions[0]) == []
    async with caller(site.server.url) as device:
        await post_reading(device, "after-logout", 230)
    assert (await staying.live(1))[0].json["device_id"] == "after-logout"
    await bystander.live(1)
    await staying.close()


async def test_all_streams_of_a_user_end_when_the_password_is_set_from_the_command_line(
    site: Site, bystander: StreamClient
) -> None:
    sessions = [await log_in(site.server.url, "changed", PASSWORD) for _ in range(2)]
    streams = [await opened(site, session) for session in sessions]
    done = await asyncio.to_thread(
        run_command,
        "set-password",
        "changed",
        "--password-stdin",
        data_dir=site.folder,
        stdin="another horse\n",
    )
    assert done.returncode == 0, done.stderr
    await asyncio.gather(
        *(ends_in_time(site, *each) for each in zip(streams, sessions, strict=True))
    )


CHANGES: dict[str, Callable[[AccountService], Awaitable[object]]] = {
    "role": lambda users: users.change(CONSOLE, "changed", {"role": "read-only"}),
    "tenant": lambda users: users.change(CONSOLE, "changed", {"tenant_id": "elsewhere"}),
    "disabled": lambda users: users.change(CONSOLE, "changed", {"disabled": True}),
    "deleted": lambda users: users.delete(CONSOLE, "changed"),
    "sessions ended": lambda users: users.end_sessions(CONSOLE, "changed"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_all_streams_of_a_user_end_when_another_process_changes_the_account(
    site: Site, bystander: StreamClient, change: str
) -> None:
    """ASVS v5.0.0-7.4.2 and v5.0.0-7.4.5."""
    async with open_base(ServerConfig(data_dir=site.folder)) as base:
        if await base.stores.users.get_user_by_username("changed"):
            await base.admin.accounts.delete(CONSOLE, "changed")
        await base.admin.create_user("changed", PASSWORD, "operator", "default")
        sessions = [await log_in(site.server.url, "changed", PASSWORD) for _ in range(2)]
        streams = [await opened(site, session) for session in sessions]
        await CHANGES[change](base.admin.accounts)
        await asyncio.gather(
            *(ends_in_time(site, *each) for each in zip(streams, sessions, strict=True))
        )


async def test_the_streams_of_a_user_live_on_when_wrong_passwords_lock_the_user(
    site: Site, bystander: StreamClient
) -> None:
    """ASVS v5.0.0-6.1.1: no malicious account lockout.

    The guesser has another address than the user.
    """
    session = await log_in(site.server.url, "locked", PASSWORD)
    stream = await opened(site, session)
    elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
    async with httpx.AsyncClient(transport=elsewhere, base_url=site.server.url) as guesser:
        wrong = {"username": "locked", "password": "wrong horse"}
        answers = [await guesser.post("/auth/login", json=wrong) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 423]
    # The next check of all streams' sessions ends the stream of one whose session is gone.
    control = await opened(site, gone := await log_in(site.server.url, "deleted", PASSWORD))
    async with open_base(ServerConfig(data_dir=site.folder)) as base:
        await base.auth.sessions.end([gone])
    await ends_in_time(site, control, gone)
    async with caller(site.server.url) as device:
        await post_reading(device, "after-lock", 230)
    for one in (stream, bystander):
        assert (await one.live(1))[0].json["device_id"] == "after-lock"
    await stream.close()


async def test_the_streams_of_a_user_end_when_it_is_locked_by_hand(
    site: Site, bystander: StreamClient
) -> None:
    session = await log_in(site.server.url, "locked", PASSWORD)
    stream = await opened(site, session)
    async with open_base(ServerConfig(data_dir=site.folder)) as base:
        until_ms = base.site_clock.now_ms() + 60_000
        await base.client.write(
            [await base.auth.lockout.accounts.setting("locked", None, until_ms)]
        )
    await ends_in_time(site, stream, session)


async def test_a_stream_ends_when_another_process_lowers_the_users_role(
    site: Site, bystander: StreamClient
) -> None:
    session = await log_in(site.server.url, "lowered", PASSWORD)
    stream = await opened(site, session)
    async with open_base(ServerConfig(data_dir=site.folder)) as base:
        await base.stores.users.update_user("lowered", {"role": "read-only"})
    assert without_asides(await stream.rest(GONE_S)) == []
    # The session may open another stream, with the new role.
    async with await opened(site, session) as again:
        assert again.status == 200
    await stream.close()


async def test_a_stream_ends_when_another_process_deletes_its_session(
    site: Site, bystander: StreamClient
) -> None:
    session = await log_in(site.server.url, "deleted", PASSWORD)
    stream = await opened(site, session)
    async with open_base(ServerConfig(data_dir=site.folder)) as base:
        assert await base.auth.sessions.end_all_of("deleted") == 1
    await ends_in_time(site, stream, session)


async def test_the_oldest_sessions_stream_ends_when_the_user_logs_in_too_often(
    site: Site, bystander: StreamClient
) -> None:
    first = await log_in(site.server.url, "crowded", PASSWORD)
    stream = await opened(site, first)
    rest = [await log_in(site.server.url, "crowded", PASSWORD) for _ in range(3)]
    await ends_in_time(site, stream, first)
    async with await opened(site, rest[0]) as left:
        assert left.status == 200


async def test_a_stream_ends_when_its_session_expires(site: Site) -> None:
    began = asyncio.get_running_loop().time()
    session = await log_in(site.server.url, "expiring", PASSWORD)
    async with await opened(site, session) as stream:
        frames = await stream.rest(SESSION_S + GONE_S)
        assert without_asides(frames) == []
        (announced,) = [frame.json for frame in frames if frame.event == "session"]
        assert 0 < announced["ends_at"] - announced["ts"] <= SESSION_S * 1000
        assert announced["extendable"] is True
        assert asyncio.get_running_loop().time() - began >= SESSION_S
        assert not stream.cut
    async with await StreamClient.open(site.server.port, session=session) as again:
        assert again.status == 401


async def test_a_client_that_waits_for_an_event_gets_a_proper_end_of_the_stream(site: Site) -> None:
    session = await log_in(site.server.url, "leaver", PASSWORD)
    async with await opened(site, session) as stream:
        async with caller(site.server.url, session) as client:
            await client.post("/auth/logout")
        assert without_asides(await stream.rest(GONE_S)) == []
        assert not stream.cut
