"""The watch over the sessions that streams live by, when an account cannot be read."""

from __future__ import annotations

import asyncio

from server.auth.session_watch import SessionWatch
from server.services.firestore.base import Query, Update
from tests.support.http import logged_in

NAMES = ("reader", "operator", "admin")


async def test_an_account_that_cannot_be_read_ends_its_own_streams_and_hides_no_other(container):
    client = container.base.client
    callers = {name: await logged_in(container, name) for name in NAMES}
    sessions = (await client.query(Query("sessions"), 10)).documents
    owners = {one.fields["username"]: f"{one.id}:read-only" for one in sessions}
    await client.write([Update("users", "operator", {"role": "of a later version"})])
    await callers["admin"].post("/auth/logout")

    ended: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
    watch = SessionWatch(
        lambda: set(owners.values()),
        container.base.auth.sessions.lost,
        lambda lost, why: ended.done() or ended.set_result(lost),
    )
    watch.start()
    watch.look_now()
    try:
        async with asyncio.timeout(5):
            assert await ended == {owners["operator"], owners["admin"]}
    finally:
        await watch.stop()
