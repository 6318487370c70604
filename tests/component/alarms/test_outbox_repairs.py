"""The outbox after a target was repaired, changed or deleted, and beside another process."""

from __future__ import annotations

from server.alarms.outbox import OutboxStore
from server.alarms.outbox_worker import (
    ATTEMPTS_MIN,
    CLAIM_MS,
    FAILING_MAX,
    LOOK_MAX,
    OF_TENANT_MAX,
)
from server.alarms.targets.message import message_id
from server.alarms.targets_store import NoticeTargetsStore
from tests.component.alarms.test_outbox import (
    DAY_S,
    Reported,
    _noted,
    a_target,
    base,
    ids,
    is_empty,
    keep_target,
    parts_of,
    sample,
    store,
    unstarted,
    until,
    waiting,
)
from tests.support.notices import mailbox, raised, webhook
from tests.support.receivers import HANG, mail_receiver, status, web_receiver

__all__ = ["base"]


async def test_a_recipient_that_has_it_gets_it_no_more_while_another_is_refused(base, clock):
    async with mail_receiver() as receiver:
        await keep_target(base, mailbox(receiver.port))
        receiver.refused = {"bob@example.com"}
        async with parts_of(base) as parts:
            await store(base, parts, raised())
            for count in (1, 2, 3):
                await until(lambda count=count: _noted(base, count))
                clock.advance(300)
                parts.worker.wake()
            await until(lambda: _noted(base, 4))
            await store(base, parts, raised("attic", id="attic"))
            receiver.refused = set()
            clock.advance(300)
            parts.worker.wake()
            await until(lambda: is_empty(base))
    first, *others = receiver.mails
    assert first[0] == ["ann@example.com"]
    same = [to for to, mail in others if mail["Message-ID"] == first[1]["Message-ID"]]
    assert same == [["bob@example.com"]]
    assert [to for to, mail in others if "attic" in mail["Subject"]] == [
        ["ann@example.com", "bob@example.com"]
    ]


async def test_notices_that_two_processes_share_are_two_messages(base):
    """With one id for both, a receiver that drops repeats would lose the second one."""
    async with a_target(base) as receiver:
        parts = unstarted(base)
        await store(base, parts, *(raised(f"z{n}", id=f"silent-z{n}") for n in range(510)))
        found = await waiting(base)
        until_ms = base.clock.now_ms() + CLAIM_MS
        await OutboxStore(base.client).claim(found[500:], until_ms, "of another process")
        (target,) = await NoticeTargetsStore(base.client).targets_of("default")
        assert await parts.worker._send_group(target, found)
    (posted,) = receiver.posted
    own = message_id([one.id for one in found[:500]])
    assert posted.headers["X-BAS-Notice-ID"] == posted.json()["id"] == own


async def test_a_test_that_arrives_is_followed_by_all_that_waits(base, clock):
    async with a_target(base) as receiver, parts_of(base) as parts:
        parts.reports.to = reported = Reported()
        receiver.answers = [status(500)] * 5
        await store(base, parts, raised())
        for count in range(1, 5):
            await until(lambda count=count: _noted(base, count))
            clock.advance(300)
            parts.worker.wake()
        await until(lambda: _noted(base, 5))
        # From now on the clock stands still, so the next attempt would never be due.
        assert (await parts.targets.test("ada", "", "default", "hook")).delivered
        await until(lambda: is_empty(base))
    assert len(receiver.posted) == 7
    assert reported.reports == [("default", "notice_failed", False)]


async def test_an_alarm_about_a_target_ends_when_that_target_is_deleted(base, clock):
    async with a_target(base) as good, web_receiver() as bad, parts_of(base) as parts:
        await keep_target(base, webhook(bad.url, target_id="bad"))
        parts.listener.changed("default")
        parts.reports.to = reported = Reported()
        bad.answer = status(500)
        await store(base, parts, raised())
        for count in range(1, ATTEMPTS_MIN + 1):
            await until(lambda count=count: _noted(base, count))
            clock.advance(DAY_S if count == ATTEMPTS_MIN - 1 else 300)
            parts.worker.wake()
        await until(lambda: is_empty(base))
        await reported.last_is("notice_failed", is_on=True)
        targets = NoticeTargetsStore(base.client)
        gone, version = await targets.get_target("default", "bad")
        entry = base.stores.audit.entry("X", tenant_id="default", username="x", address="x")
        await targets.delete_target(gone, version, entry)
        parts.listener.changed("default")
        await store(base, parts, raised("attic", id="attic"))
        await good.wait_for(lambda posted: len(ids(posted)) == 2)
        await until(lambda: is_empty(base))
        await reported.last_is("notice_failed", is_on=False)


async def test_targets_that_hang_hold_up_no_other_tenant(base):
    async with a_target(base) as good, web_receiver() as slow, parts_of(base) as parts:
        slow.answer = HANG
        elsewhere = [
            webhook(slow.url, tenant_id="elsewhere", target_id=f"slow{n}", name=f"slow{n}")
            for n in range(12)
        ]
        await keep_target(base, *elsewhere)
        await store(base, parts, raised(tenant_id="elsewhere"))
        await slow.wait_for(lambda posted: len(posted) >= OF_TENANT_MAX)
        await store(base, parts, raised())
        await good.wait_for(lambda posted: len(posted) == 1)
        assert len(slow.posted) == OF_TENANT_MAX


async def test_many_notices_that_wait_for_one_target_hide_no_other(base, clock):
    async with a_target(base) as slow, web_receiver() as good, parts_of(base) as parts:
        slow.answer = HANG
        await store(base, parts, raised())
        await slow.wait_for(lambda posted: len(posted) == 1)
        many = (raised(f"z{n}", id=f"silent-z{n}") for n in range(LOOK_MAX))
        await store(base, parts, *many)
        clock.advance(1)
        await keep_target(base, webhook(good.url, tenant_id="elsewhere"))
        await store(base, parts, raised(tenant_id="elsewhere"))
        await good.wait_for(lambda posted: len(posted) == 1)
        # The message that hangs is still under way.
        assert sample(parts, "bas_notices_failed_total", kind="webhook") == 0


async def test_targets_that_fail_leave_places_to_the_others_of_their_tenant(base, clock):
    async with a_target(base) as good, web_receiver() as slow, parts_of(base) as parts:
        slow.answer = status(500)
        names = [f"slow{n}" for n in range(12)]
        await keep_target(base, *(webhook(slow.url, target_id=one, name=one) for one in names))
        parts.listener.changed("default")
        await store(base, parts, raised())
        await until(lambda: _all_failed(base, len(names)))
        slow.answer = HANG
        clock.advance(300)
        parts.worker.wake()
        await slow.wait_for(lambda posted: len(posted) == len(names) + FAILING_MAX)
        await store(base, parts, raised("attic", id="attic"))
        await good.wait_for(lambda posted: len(posted) == 2)
        assert len(slow.posted) == len(names) + FAILING_MAX


async def _all_failed(base, count: int) -> bool:
    return sum(one.notice.error != "" for one in await waiting(base)) == count
