"""OutboxStore on each DocumentClient: which notices are due, and which process takes one."""

from __future__ import annotations

import asyncio

from server.alarms.notice_models import WaitingNotice
from server.alarms.outbox import OutboxEntry, OutboxState, OutboxStore
from server.services.ports.documents import DocumentClient
from tests.support.notices import an_alarm

EVER = 10**14


async def store(client: DocumentClient, notice_id: str, due_ms: int, target: str = "hook") -> None:
    notice = WaitingNotice(
        tenant_id="t",
        target_id=target,
        made_ms=due_ms,
        due_ms=due_ms,
        alarm=an_alarm(tenant_id="t"),
    )
    await client.write([OutboxStore.storing(notice_id, notice)])


def ids(entries: list[OutboxEntry]) -> list[str]:
    return [one.id for one in entries]


async def test_notices_are_due_in_their_order_and_counted_until_they_are_removed(
    client: DocumentClient,
) -> None:
    outbox = OutboxStore(client)
    assert await outbox.state(0) == OutboxState(0, None, None)
    for notice_id, due_ms, target in (("c", 30, "hook"), ("a", 10, "mail"), ("b", 20, "hook")):
        await store(client, notice_id, due_ms, target)
    await store(client, "b", 20)  # another attempt to store its alarm
    assert ids(await outbox.due(9, 5)) == []
    assert ids(await outbox.due(20, 5)) == ["a", "b"]
    assert ids(await outbox.due(EVER, 2)) == ["a", "b"]
    assert sorted(ids(await outbox.of_target("t", "hook", 5))) == ["b", "c"]
    assert await outbox.of_target("other", "hook", 5) == []
    assert await outbox.state(20) == OutboxState(3, 10, 30)
    await outbox.remove(await outbox.due(20, 5))
    assert await outbox.state(20) == OutboxState(1, 30, 30)


async def test_of_three_that_claim_the_same_notices_one_gets_them_with_a_right_to_go_on(
    client: DocumentClient,
) -> None:
    outbox = OutboxStore(client)
    for number in range(3):
        await store(client, f"n{number}", number)
    entries = await outbox.due(EVER, 5)
    claims = [outbox.claim(entries, 1000 + one, f"message {one}") for one in range(3)]
    taken = [one for one in await asyncio.gather(*claims) if one]
    assert len(taken) == 1
    assert await outbox.due(999, 5) == []
    await outbox.postpone(entries, 1)  # what another process read before is not written
    assert await outbox.due(999, 5) == []
    await outbox.note_failure(taken[0], 2000, "HTTP 503", "m", ["bob@example.com"])
    (first, *others) = await outbox.due(EVER, 5)
    assert len(others) == 2
    found = first.notice
    assert (found.attempts, found.due_ms, found.error) == (1, 2000, "HTTP 503")
    assert (found.message, list(found.left)) == ("m", ["bob@example.com"])
    again = await outbox.claim([first], 3000, "m")
    assert [one.notice.attempts for one in again] == [2]
