"""A stream lives no longer than its session, whoever ends that, in whatever process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bas_server import open_base
from server.config.config import ServerConfig
from tests.support.process import ServerProcess, run_command
from tests.support.stream import (
    Frame,
    StreamClient,
    StreamEnded,
    caller,
    log_in,
    post_reading,
)

PASSWORD = "correct horse"
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
    """Someone else's stream, which must outlive whatever the test ends."""
    async with await opened(site, await log_in(site.server.url, "bystander", PASSWORD)) as stream:
        yield stream
        async with caller(site.server.url) as device:
            await post_reading(device, "last-word", 230)
        (event,) = await stream.live(1)
        assert event.json["device_id"] == "last-word"


async def opened(site: Site, session: str) -> StreamClient:
    """A stream that has taken its opening frames."""
    stream = await StreamClient.open(site.server.port, session=session)
    await stream.opening()
    return stream


async def ends_in_time(site: Site, stream: StreamClient, session: str) -> list[Frame]:
    """The frames until the stream ended, in time and properly; its session opens no other."""
    frames = await stream.rest(GONE_S)
    assert not stream.cut
    await stream.close()
    async with await StreamClient.open(site.server.port, session=session) as again:
        assert again.status in {401, 403, 423}
    return frames


async def test_a_stream_ends_at_logout_and_other_sessions_of_the_user_go_on(
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


async def test_the_streams_of_a_user_end_when_too_many_wrong_passwords_lock_it(
    site: Site, bystander: StreamClient
) -> None:
    session = await log_in(site.server.url, "locked", PASSWORD)
    stream = await opened(site, session)
    async with caller(site.server.url) as guesser:
        wrong = {"username": "locked", "password": "wrong horse"}
        answers = [await guesser.post("/auth/login", json=wrong) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 423]
    await ends_in_time(site, stream, session)


async def test_a_stream_ends_when_another_process_lowers_the_users_role(
    site: Site, bystander: StreamClient
) -> None:
    session = await log_in(site.server.url, "lowered", PASSWORD)
    stream = await opened(site, session)
    async with open_base(ServerConfig(data_dir=site.folder)) as base:
        await base.stores.users.update_user("lowered", {"role": "read-only"})
    assert await stream.rest(GONE_S) == []
    # It may open another one, in the role it has now.
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
        assert await stream.rest(SESSION_S + GONE_S) == []
        assert asyncio.get_running_loop().time() - began >= SESSION_S
        assert not stream.cut
    async with await StreamClient.open(site.server.port, session=session) as again:
        assert again.status == 401


async def test_a_reader_that_waits_is_told_the_end_and_not_cut_off(site: Site) -> None:
    session = await log_in(site.server.url, "leaver", PASSWORD)
    async with await opened(site, session) as stream:
        async with caller(site.server.url, session) as client:
            await client.post("/auth/logout")
        with pytest.raises(StreamEnded) as over:
            await stream.frame(GONE_S)
        assert not over.value.cut
