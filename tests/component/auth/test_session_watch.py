"""SessionWatch ends streams whose sessions are gone, also when an account cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from server.auth.session_watch import SessionWatch
from server.common.session_end import SessionEnd
from server.services.ports.documents import Query, Update
from tests.support.http import logged_in
from tests.support.stream import eventually

NAMES = ("reader", "operator", "admin")


async def test_an_unreadable_account_ends_its_own_streams_and_does_not_hide_other_ended_sessions(
    container,
):
    client = container.base.client
    callers = {name: await logged_in(container, name) for name in NAMES}
    sessions = (await client.query(Query("sessions"), 10)).documents
    owners = {one.fields["username"]: f"{one.id}:read-only" for one in sessions}
    await client.write([Update("users", "operator", {"role": "of a later version"})])
    await callers["admin"].post("/auth/logout")

    ended: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
    moved: dict[str, SessionEnd] = {}

    class Streams:
        def owners(self) -> set[str]:
            return set(owners.values())

        def end_owned(self, lost: set[str], reason: str) -> None:
            if not ended.done():
                ended.set_result(lost)

        def move_ends(self, ends: Mapping[str, SessionEnd]) -> None:
            moved.update(ends)

    watch = SessionWatch(Streams(), container.base.auth.sessions.ends)
    watch.start()
    watch.check_now()
    try:
        async with asyncio.timeout(60):
            assert await ended == {owners["operator"], owners["admin"]}
            await eventually(lambda: moved.keys() == {owners["reader"]}, "the end of the other")
    finally:
        await watch.stop()
