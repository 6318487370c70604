"""The outbox: each notice arrives at least once, whatever fails, hangs or dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from bas_server import Base, open_base
from server.alarms.alarm import AlarmReports
from server.alarms.notices_factory import NoticeParts, notice_parts
from server.alarms.outbox import OutboxEntry, OutboxStore
from server.alarms.outbox_worker import ATTEMPTS_MIN, CLAIM_MS
from server.alarms.targets.message import MESSAGE_MAX
from server.alarms.targets_store import NoticeTargetsStore
from server.common.metrics import Metrics
from server.services.firestore.models import ZoneRecord
from server.services.site.ports import NoNotices
from tests.support.notices import HERE, mailbox, raised, webhook
from tests.support.receivers import CUT, HANG, OK, mail_receiver, status, web_receiver

BOUND_S = 60
DAY_S = 86_400


class Reported(AlarmReports):
    """Keeps what was reported."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, str, bool]] = []

    def report(self, tenant_id: str, kind: str, *, is_on: bool, reason: str = "") -> None:
        self.reports.append((tenant_id, kind, is_on))

    async def last_is(self, kind: str, *, is_on: bool) -> None:
        """Wait for this report: it comes a moment after the outbox was changed."""

        async def is_there() -> bool:
            return self.reports[-1:] == [("default", kind, is_on)]

        await until(is_there)


@pytest.fixture
async def base(config, clock) -> AsyncIterator[Base]:
    async with open_base(replace(config, notice_private_addresses=HERE), clock) as opened:
        yield opened


def unstarted(base: Base) -> NoticeParts:
    return notice_parts(base.config, base.stores, NoNotices(), base.clock, Metrics())


@asynccontextmanager
async def parts_of(base: Base, made: NoticeParts | None = None) -> AsyncIterator[NoticeParts]:
    """The parts of one process, which send."""
    parts = made or unstarted(base)
    parts.start()
    try:
        yield parts
    finally:
        await parts.stop()


async def keep_target(base: Base, *targets) -> None:
    store = NoticeTargetsStore(base.client)
    for target in targets:
        entry = base.stores.audit.entry("X", tenant_id="default", username="x", address="x")
        await store.create_target(target, entry)


async def store(base: Base, parts: NoticeParts, *changes) -> None:
    """Store changes as the service of alarms does, without the alarms."""
    writes = [write for one in changes for write in await parts.listener.documents_for(one)]
    for start in range(0, len(writes), 500):
        await base.client.write(writes[start : start + 500])
    for one in changes:
        parts.listener.stored(one)


async def waiting(base: Base) -> list[OutboxEntry]:
    return await OutboxStore(base.client).due(10**14, 5000)


async def until(condition) -> None:
    async with asyncio.timeout(BOUND_S):
        while not await condition():  # noqa: ASYNC110 - it is about what is stored
            await asyncio.sleep(0.01)


async def is_empty(base: Base) -> bool:
    return not await waiting(base)


def sample(parts: NoticeParts, name: str, **labels: str) -> float:
    return parts.worker._metrics.registry.get_sample_value(name, labels) or 0.0


def ids(posted) -> list[str]:
    return [one["id"] for post in posted for one in post.json()["notices"]]


@asynccontextmanager
async def a_target(base: Base):
    """A web receiver that is a target."""
    async with web_receiver() as receiver:
        await keep_target(base, webhook(receiver.url))
        yield receiver


async def test_a_notice_is_sent_with_what_the_zone_does_now(base):
    zone = ZoneRecord(tenant_id="default", device_id="lab", cool=True, last_seen_ms=1)
    await base.client.write([base.stores.zones.zone_write(zone, None)])
    async with a_target(base) as receiver, parts_of(base) as parts:
        await store(base, parts, raised())
        (posted,) = await receiver.wait_for(lambda posted: len(posted) >= 1)
        await until(lambda: is_empty(base))
    (notice,) = posted.json()["notices"]
    assert notice["relays"] == {"cool": True, "heat": False}
    assert posted.headers["X-BAS-Notice-ID"] == notice["id"]
    assert sample(parts, "bas_notices_sent_total", kind="webhook") == 1


async def test_a_flood_is_one_message_within_its_size(base):
    async with a_target(base) as receiver:
        parts = unstarted(base)
        await store(base, parts, *(raised(f"z{n}", id=f"silent-z{n}") for n in range(600)))
        async with parts_of(base, parts):
            await until(lambda: is_empty(base))
    (posted,) = receiver.posted
    told = posted.json()
    assert len(posted.body) <= MESSAGE_MAX
    assert len(told["notices"]) + told["more"] == 600
    assert sample(parts, "bas_notices_sent_total", kind="webhook") == 600


async def test_a_target_that_comes_back_gets_the_same_notice(base, clock):
    async with a_target(base) as receiver, parts_of(base) as parts:
        receiver.answers = [status(503), status(302, "Location: /x"), CUT]
        await store(base, parts, raised())
        for count in (1, 2, 3, 4):
            await receiver.wait_for(lambda posted, count=count: len(posted) >= count)
            # Its back-off is over as soon as the failure is noted.
            await until(lambda count=count: _noted(base, count))
            clock.advance(300)
            parts.worker.wake()
    assert len(set(ids(receiver.posted))) == 1
    assert len(receiver.posted) == 4
    assert sample(parts, "bas_notices_failed_total", kind="webhook") == 3


async def _noted(base: Base, count: int) -> bool:
    found = await waiting(base)
    return not found or (found[0].notice.attempts == count and found[0].notice.error != "")


async def test_a_message_that_may_have_arrived_is_repeated_as_it_was(base, clock):
    """Else a receiver that drops a repeat by the id of the message would drop the others too."""
    async with a_target(base) as receiver, parts_of(base) as parts:
        receiver.answers = [CUT]
        await store(base, parts, raised("a", id="a"), raised("b", id="b"))
        await until(lambda: _noted(base, 1))
        await store(base, parts, raised("c", id="c"))
        clock.advance(300)
        parts.worker.wake()
        await until(lambda: is_empty(base))
    first, *others = receiver.posted
    by_id = {one.headers["X-BAS-Notice-ID"]: set(ids([one])) for one in others}
    assert by_id[first.headers["X-BAS-Notice-ID"]] == set(ids([first]))
    assert sorted(len(found) for found in by_id.values()) == [1, 2]


async def test_a_worker_that_ends_while_it_sends_leaves_the_notice_to_another(base, clock):
    async with a_target(base) as receiver:
        receiver.answers = [HANG]
        async with parts_of(base) as parts:
            await store(base, parts, raised())
            await receiver.wait_for(lambda posted: len(posted) == 1)
        async with parts_of(base) as other:
            assert len(receiver.posted) == 1  # the claim of the first one holds
            clock.advance(CLAIM_MS / 1000)
            other.worker.wake()
            await until(lambda: is_empty(base))
    first, second = receiver.posted
    assert first.headers["X-BAS-Notice-ID"] == second.headers["X-BAS-Notice-ID"]


async def test_of_three_workers_one_sends_each_notice(base):
    async with (
        a_target(base) as receiver,
        parts_of(base) as one,
        parts_of(base) as two,
        parts_of(base) as three,
    ):
        for number in range(12):
            await store(base, one, raised(f"z{number}", id=f"z{number}"))
            two.worker.wake()
            three.worker.wake()
        await until(lambda: is_empty(base))
    assert len(ids(receiver.posted)) == len(set(ids(receiver.posted))) == 12


async def test_a_notice_is_given_up_after_a_day_and_an_alarm_says_so(base, clock):
    async with a_target(base) as receiver, parts_of(base) as parts:
        parts.reports.to = reported = Reported()
        receiver.answer = status(500)
        await store(base, parts, raised())
        for count in range(1, ATTEMPTS_MIN + 1):
            await until(lambda count=count: _noted(base, count))
            if count == ATTEMPTS_MIN - 1:
                clock.advance(DAY_S)
            clock.advance(300)
            parts.worker.wake()
        await until(lambda: is_empty(base))
        await reported.last_is("notice_failed", is_on=True)
        assert len(reported.reports) == 1
        assert sample(parts, "bas_notices_given_up_total", kind="webhook") == 1
        receiver.answer = OK
        await store(base, parts, raised("attic", id="attic"))
        clock.advance(300)
        parts.worker.wake()
        await until(lambda: is_empty(base))
        await reported.last_is("notice_failed", is_on=False)


async def test_a_target_that_hangs_holds_up_no_other(base):
    async with a_target(base) as receiver, web_receiver() as slow, parts_of(base) as parts:
        slow.answer = HANG
        await keep_target(base, webhook(slow.url, target_id="slow"))
        parts.listener.changed("default")
        for number in range(3):
            await store(base, parts, raised(f"z{number}", id=f"z{number}"))
            await receiver.wait_for(lambda posted, wanted=number + 1: len(ids(posted)) == wanted)
        assert len(await slow.wait_for(lambda posted: posted != [])) == 1


async def test_a_clock_that_was_set_back_holds_up_no_notice(base, clock):
    async with a_target(base) as receiver, parts_of(base) as parts:
        receiver.answers = [status(500)]
        await store(base, parts, raised())
        await until(lambda: _noted(base, 1))
        clock.step_ms = -3 * DAY_S * 1000
        clock.advance(300)
        parts.worker.wake()
        await until(lambda: is_empty(base))
    assert len(receiver.posted) == 2


async def test_notices_of_a_target_that_is_gone_or_disabled_are_dropped(base):
    async with a_target(base) as receiver:
        await keep_target(base, webhook(receiver.url, target_id="off"))
        parts = unstarted(base)
        await store(base, parts, raised())
        targets = NoticeTargetsStore(base.client)
        entry = base.stores.audit.entry("X", tenant_id="default", username="x", address="x")
        gone, version = await targets.get_target("default", "hook")
        await targets.delete_target(gone, version, entry)
        off = webhook(receiver.url, target_id="off", enabled=False)
        _, version = await targets.get_target("default", "off")
        again = base.stores.audit.entry("X", tenant_id="default", username="x", address="x")
        await targets.replace_target(off, version, again)
        async with parts_of(base, parts):
            await until(lambda: is_empty(base))
    assert receiver.posted == []


async def test_a_tenant_s_notices_go_to_its_own_targets(base):
    async with a_target(base) as receiver, parts_of(base) as parts:
        await store(base, parts, raised(tenant_id="elsewhere"), raised("own"))
        (posted,) = await receiver.wait_for(lambda posted: len(posted) >= 1)
        assert [one["device_id"] for one in posted.json()["notices"]] == ["own"]
        await until(lambda: is_empty(base))


async def test_a_recipient_that_was_refused_gets_it_later_and_the_other_one_once(base, clock):
    async with mail_receiver() as receiver:
        await keep_target(base, mailbox(receiver.port))
        receiver.refused = {"bob@example.com"}
        async with parts_of(base) as parts:
            await store(base, parts, raised())
            await until(lambda: _noted(base, 1))
            receiver.refused = set()
            clock.advance(300)
            parts.worker.wake()
            await until(lambda: is_empty(base))
    assert [to for to, _ in receiver.mails] == [["ann@example.com"], ["bob@example.com"]]
    assert len({mail["Message-ID"] for _, mail in receiver.mails}) == 1


async def test_a_notice_about_the_store_needs_no_store(base):
    change = raised("", id="store-1", kind="store_away", temp_tenths=None)
    async with a_target(base) as receiver, parts_of(base) as parts:
        await store(base, parts, raised())  # now the targets are known
        await receiver.wait_for(lambda posted: len(posted) == 1)
        parts.listener.send_at_once(change)
        _, posted = await receiver.wait_for(lambda posted: len(posted) == 2)
    assert posted.json()["notices"][0]["kind"] == "store_away"
