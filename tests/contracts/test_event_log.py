"""The contract of EventLog: each test runs on every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.ports.event_log import Cursor, Entry, Event, EventLog
from server.services.site.factory import redis_client, redis_site
from server.services.sse_service.factory import redis_log
from server.services.sse_service.memory_log import MemoryLog
from tests.support.redis import need_redis
from tools.redis_server import RedisServer

MANY = 1_000_000_000

Opener = Callable[[int, int, AsyncExitStack], Awaitable[EventLog]]


async def open_memory(max_events: int, max_bytes: int, resources: AsyncExitStack) -> EventLog:
    return MemoryLog(max_events, max_bytes)


class OnRedis:
    """Opens logs on a Redis: the first call starts it, each call empties it."""

    def __init__(self) -> None:
        self._server: RedisServer | None = None

    async def __call__(
        self, max_events: int, max_bytes: int, resources: AsyncExitStack
    ) -> EventLog:
        if self._server is None:
            need_redis()
            self._server = resources.enter_context(RedisServer())
        self._server.command("FLUSHALL")
        url, clock, metrics = self._server.url, SystemClock(), Metrics()
        site = await resources.enter_async_context(
            redis_site(redis_client(url), url, clock, metrics)
        )
        bounds = {"max_events": max_events, "max_bytes": max_bytes}
        folder = Path(resources.enter_context(TemporaryDirectory()))
        return await resources.enter_async_context(
            redis_log(site, clock, metrics, folder, **bounds)
        )


@pytest.fixture(
    params=[pytest.param(lambda: open_memory, id="memory"), pytest.param(OnRedis, id="redis")]
)
async def opener(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Awaitable]]:
    """Opens logs of the implementation under test, with limits in events and bytes."""
    implementation: Opener = request.param()
    async with AsyncExitStack() as resources:

        async def open_log(max_events: int = 1000, max_bytes: int = MANY) -> EventLog:
            return await implementation(max_events, max_bytes, resources)

        yield open_log


@pytest.fixture
async def log(opener: Callable[..., Awaitable[EventLog]]) -> EventLog:
    return await opener()


def event(number: int, device_id: str | None = None) -> Event:
    return Event("telemetry", f'{{"n":{number}}}', device_id)


def number_of(entry: Entry) -> int:
    """The number of the event that `event` made, read from its frame."""
    return int(entry.frame.rsplit(b'{"n":', 1)[1].split(b"}")[0])


def cursor_of(entry: Entry) -> Cursor:
    """The cursor of an entry, parsed from its id as a client sends it back."""
    cursor = Cursor.parse(entry.id)
    assert cursor is not None
    return cursor


async def append(log: EventLog, count: int, tenant: str = "here", first: int = 1) -> list[Cursor]:
    cursors = [await log.append(tenant, event(n)) for n in range(first, first + count)]
    return [cursor for cursor in cursors if cursor is not None]


async def everything_after(log: EventLog, cursor: Cursor, limit: int, tenant: str = "here"):
    """All entries after the cursor, page by page."""
    found: list[Entry] = []
    while True:
        page = await log.read_after(tenant, cursor, limit)
        assert page is not None
        assert len(page) <= limit
        if not page:
            return found
        found += page
        cursor = cursor_of(page[-1])


async def test_positions_start_at_one_and_grow_by_one(log: EventLog) -> None:
    cursors = await append(log, 50)
    assert [cursor.position for cursor in cursors] == list(range(1, 51))
    assert len({cursor.epoch for cursor in cursors}) == 1


async def test_append_many_keeps_the_order_and_skips_events_whose_key_is_known(
    log: EventLog,
) -> None:
    events = [Event(name="telemetry", data=str(n), key=f"k{n % 200}") for n in range(250)]
    await log.append_many("t", events[:1])
    start = await log.tip("t")
    await log.append_many("t", events)
    entries = await log.read_after("t", start, 1000)
    assert entries is not None
    data = [int(entry.frame.split(b"data: ")[1]) for entry in entries]
    assert data == list(range(1, 200))


async def test_every_cursor_can_be_sent_as_an_id_and_parsed_back(log: EventLog) -> None:
    for cursor in [await log.tip("here"), *await append(log, 3)]:
        assert len(str(cursor)) <= 128
        assert Cursor.parse(str(cursor)) == cursor


async def test_the_tip_of_an_empty_history_is_before_its_first_event(log: EventLog) -> None:
    tip = await log.tip("here")
    assert tip.position == 0
    assert await log.read_after("here", tip, 10) == []
    await append(log, 2)
    assert [number_of(entry) for entry in await everything_after(log, tip, 10)] == [1, 2]


async def test_the_tip_is_the_cursor_of_the_newest_event(log: EventLog) -> None:
    cursors = await append(log, 3)
    assert await log.tip("here") == cursors[-1]
    assert await log.read_after("here", cursors[-1], 10) == []


async def test_an_entry_is_the_event_that_was_appended_with_its_cursor_as_id(
    log: EventLog,
) -> None:
    before = await log.tip("here")
    cursor = await log.append("here", Event("setpoint", "one\r\ntwo", "zone-ä"))
    (entry,) = await everything_after(log, before, 10)
    assert entry.position == cursor.position
    assert entry.device_id == "zone-ä"
    assert entry.frame == f"event: setpoint\nid: {cursor}\ndata: one\ndata: two\n\n".encode()
    assert entry.frame[entry.name_length :].startswith(b"id: ")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_follow_each_other_without_gap_or_repetition(log: EventLog, limit: int) -> None:
    cursors = await append(log, 14)
    found = await everything_after(log, cursors[1], limit)
    assert [number_of(entry) for entry in found] == list(range(3, 15))
    page = await log.read_after("here", cursors[1], limit)
    assert page is not None
    assert len(page) == min(limit, 12)


async def test_a_cursor_beyond_the_newest_event_is_unknown(log: EventLog) -> None:
    cursor = (await append(log, 3))[-1]
    for position in (4, 10**17):
        beyond = msgspec.structs.replace(cursor, position=position)
        assert await log.read_after("here", beyond, 10) is None


async def test_a_cursor_of_another_epoch_is_unknown(log: EventLog) -> None:
    cursors = [await log.tip("here"), *await append(log, 3)]
    other = cursors[0].epoch.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    for cursor in cursors:
        moved = msgspec.structs.replace(cursor, epoch=other)
        assert await log.read_after("here", moved, 10) is None


async def test_a_cursor_of_another_tenant_is_unknown(log: EventLog) -> None:
    cursor = (await append(log, 3, "there"))[0]
    await append(log, 3, "here")
    assert await log.read_after("here", cursor, 10) is None


async def test_a_cursor_of_a_tenant_without_events_is_unknown_to_others(log: EventLog) -> None:
    assert await log.read_after("here", await log.tip("there"), 10) is None


async def test_a_new_log_does_not_know_the_cursors_of_another(
    opener: Callable[..., Awaitable[EventLog]],
) -> None:
    cursor = (await append(await opener(), 3))[0]
    another = await opener()
    await append(another, 3)
    assert await another.read_after("here", cursor, 10) is None


async def test_each_tenant_has_a_separate_history(log: EventLog) -> None:
    # Names that would collide if a key were a plain concatenation of its parts.
    tenants = ["a", "a:b", "a-b", "a_b", "a.b", "ä", "a b", "*"]
    tips = {tenant: await log.tip(tenant) for tenant in tenants}
    for index, tenant in enumerate(tenants):
        await append(log, 2, tenant, first=10 * index)
    for index, tenant in enumerate(tenants):
        found = await everything_after(log, tips[tenant], 10, tenant)
        assert [number_of(entry) for entry in found] == [10 * index, 10 * index + 1]
        assert [entry.position for entry in found] == [1, 2]


MALFORMED = [
    "",
    "x",
    "-",
    "-1",
    "abcdefgh",
    "abcdefgh-",
    "abcdefgh--1",
    "abcdefgh-01",
    "abcdefgh-1 ",
    " abcdefgh-1",
    "abcdefgh-1\n",
    "abcdefgh-1-1",
    "abcdefgh-1.0",
    "abcdefgh-+1",
    "abcdefgh-1e3",
    "abcdefgh-9999999999999999999",
    "abcdefgh-١",  # noqa: RUF001  (an Arabic digit one)
    "short-1",
    "a" * 33 + "-1",
    "abc_efgh-1",
    "äbcdefgh-1",
    "abcdefgh\x00-1",
    "1700000000000-0",
    "a" * 100_000,
]


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: repr(text[:40]))
def test_malformed_text_is_not_parsed_as_a_known_cursor(text: str) -> None:
    cursor = Cursor.parse(text)
    # The id of a Redis stream looks like a cursor, but no history has its epoch.
    assert cursor is None or cursor.epoch == "1700000000000"


@given(st.text(max_size=200))
def test_a_cursor_parsed_from_any_text_prints_the_same_text(text: str) -> None:
    cursor = Cursor.parse(text)
    assert cursor is None or str(cursor) == text


async def test_a_history_keeps_its_newest_events_up_to_the_limit(
    opener: Callable[..., Awaitable[EventLog]],
) -> None:
    log = await opener(max_events=10)
    before = await log.tip("here")
    cursors = await append(log, 200)
    kept = await everything_after(log, cursors[189], 100)
    assert [number_of(entry) for entry in kept] == list(range(191, 201))
    assert await log.read_after("here", before, 100) is None
    assert await log.read_after("here", cursors[99], 100) is None


async def test_a_cursor_of_a_trimmed_event_is_unknown_and_gets_no_partial_page(
    opener: Callable[..., Awaitable[EventLog]],
) -> None:
    """A log in process keeps exactly the limit; one that trims by blocks may keep a few more."""
    log = await opener(max_events=10)
    cursors = await append(log, 25)
    for cursor in cursors:
        page = await log.read_after("here", cursor, 100)
        if cursor.position >= 15:
            assert page is not None
        if page is not None:
            expected = list(range(cursor.position + 1, 26))
            assert [number_of(entry) for entry in page] == expected


async def test_a_history_is_limited_in_bytes_too(
    opener: Callable[..., Awaitable[EventLog]],
) -> None:
    """A log in process keeps exactly the limit; one that trims by blocks may keep a few more."""
    log = await opener(max_events=10_000, max_bytes=20_000)
    cursors = [await log.tip("here")]
    for n in range(100):
        cursor = await log.append("here", Event("telemetry", f'{{"n":{n}}}' + " " * 1000))
        assert cursor is not None
        cursors.append(cursor)
    kept = 0
    for cursor in cursors:
        page = await log.read_after("here", cursor, 1000)
        if page is not None:
            kept = max(kept, sum(entry.size for entry in page))
    assert 10_000 < kept <= (20_000 if isinstance(log, MemoryLog) else 25_000)


async def test_an_event_larger_than_the_byte_limit_still_reaches_its_follower(
    opener: Callable[..., Awaitable[EventLog]],
) -> None:
    log = await opener(max_bytes=1000)
    follower = await follow(log)
    before = await log.tip("here")
    cursor = await log.append("here", Event("telemetry", "x" * 5000))
    await follower.wait_for(1)
    assert [entry.position for entry in follower.entries] == [1]
    page = await log.read_after("here", before, 10)
    assert page is None or page == follower.entries
    assert cursor is not None
    assert await log.read_after("here", cursor, 10) == []


class RecordingFollower:
    """A follower that records the entries that it gets; `wait_for` waits for a number of them."""

    def __init__(self) -> None:
        self.begun: list[Cursor] = []
        self.entries: list[Entry] = []
        self.lost = 0
        self._more = asyncio.Event()

    def begin(self, cursor: Cursor) -> None:
        assert not self.entries
        self.begun.append(cursor)

    def add(self, entry: Entry) -> None:
        assert asyncio.get_running_loop() is not None
        assert self.begun
        self.entries.append(entry)
        self._more.set()

    def lose(self) -> None:
        self.lost += 1
        self._more.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.entries) < count:
                self._more.clear()
                await self._more.wait()


async def follow(log: EventLog, tenant: str = "here") -> RecordingFollower:
    follower = RecordingFollower()
    await log.follow(tenant, follower)
    assert len(follower.begun) == 1
    return follower


async def test_a_follower_gets_every_event_after_its_start_once_and_in_order(
    log: EventLog,
) -> None:
    (*_, last) = await append(log, 5)
    follower, elsewhere = await follow(log), await follow(log, "there")
    assert follower.begun == [last]
    await asyncio.gather(append(log, 100, "here", first=6), append(log, 100, "there", first=1000))
    await follower.wait_for(100)
    await elsewhere.wait_for(100)
    assert [number_of(entry) for entry in follower.entries] == list(range(6, 106))
    assert [entry.position for entry in follower.entries] == list(range(6, 106))
    assert [number_of(entry) for entry in elsewhere.entries] == list(range(1000, 1100))
    assert follower.lost == elsewhere.lost == 0


async def test_a_follower_gets_events_appended_during_its_start_after_its_first_cursor(
    log: EventLog,
) -> None:
    for _ in range(20):
        follower = RecordingFollower()
        before = (await log.tip("here")).position
        await asyncio.gather(append(log, 3), log.follow("here", follower), append(log, 3))
        await follower.wait_for(before + 6 - follower.begun[0].position)
        positions = [entry.position for entry in follower.entries]
        assert positions == list(range(follower.begun[0].position + 1, before + 7))
        log.unfollow("here")


async def test_a_follower_gets_no_events_after_it_unfollowed(log: EventLog) -> None:
    follower, other = await follow(log), await follow(log, "there")
    await append(log, 1)
    await follower.wait_for(1)
    log.unfollow("here")
    await append(log, 1)
    await append(log, 1, "there")
    await other.wait_for(1)
    assert len(follower.entries) == 1
    again = await follow(log)
    await append(log, 1)
    await again.wait_for(1)
    assert [entry.position for entry in again.entries] == [3]


async def test_an_event_can_be_read_as_soon_as_its_follower_gets_it(log: EventLog) -> None:
    reads: list[asyncio.Task[list[Entry] | None]] = []
    got_all = asyncio.Event()

    class Reading(RecordingFollower):
        def add(self, entry: Entry) -> None:
            before = self.entries[-1].id if self.entries else str(self.begun[0])
            super().add(entry)
            cursor = Cursor.parse(before)
            assert cursor is not None
            reads.append(asyncio.ensure_future(log.read_after("here", cursor, 1)))
            if len(reads) == 20:
                got_all.set()

    await log.follow("here", Reading())
    await append(log, 20)
    async with asyncio.timeout(60):
        await got_all.wait()
        pages = await asyncio.gather(*reads)
    assert [page and page[0].position for page in pages] == list(range(1, 21))


async def test_concurrent_appends_get_different_positions(log: EventLog) -> None:
    before = await log.tip("here")
    cursors = await asyncio.gather(*(log.append("here", event(n)) for n in range(200)))
    assert sorted(cursor.position for cursor in cursors if cursor) == list(range(1, 201))
    found = await everything_after(log, before, 64)
    assert {number_of(e): e.position for e in found} == {
        n: cursor.position for n, cursor in enumerate(cursors) if cursor
    }


async def test_a_working_log_answers_a_ping(log: EventLog) -> None:
    async with asyncio.timeout(60):
        assert await log.ping() is None


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bound=st.integers(1, 8),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.sampled_from(["a", "b"]), st.just(0), st.just(0)),
            st.tuples(
                st.just("read"), st.sampled_from(["a", "b"]), st.integers(0, 40), st.integers(1, 9)
            ),
        ),
        max_size=60,
    ),
)
async def test_a_log_behaves_like_a_list(
    opener: Callable[..., Awaitable[EventLog]], bound: int, steps: list[tuple[str, str, int, int]]
) -> None:
    log = await opener(max_events=bound)
    model: dict[str, list[int]] = {"a": [], "b": []}
    cursors = {tenant: [await log.tip(tenant)] for tenant in model}
    for number, (action, tenant, position, limit) in enumerate(steps):
        history = model[tenant]
        if action == "append":
            cursor = await log.append(tenant, event(number))
            history.append(number)
            assert cursor is not None
            assert (cursor.epoch, cursor.position) == (cursors[tenant][0].epoch, len(history))
            cursors[tenant].append(cursor)
            continue
        known = cursors[tenant][min(position, len(history))]
        page = await log.read_after(
            tenant, msgspec.structs.replace(known, position=position), limit
        )
        if position > len(history):
            assert page is None
        elif position >= len(history) - bound:
            assert page is not None
            expected = history[position : position + limit]
            assert [number_of(entry) for entry in page] == expected
            assert [e.position for e in page] == [position + 1 + i for i in range(len(expected))]
        elif page is not None:
            assert [number_of(e) for e in page] == history[position : position + limit]


async def test_an_event_with_a_known_key_is_not_appended_again(log: EventLog) -> None:
    follower = await follow(log)
    keyed = [Event("telemetry", f'{{"n":{n}}}', key=f"key {n}") for n in (1, 2)]
    first = await log.append("here", keyed[0])
    assert first is not None
    assert await log.append("here", keyed[0]) is None
    again = await asyncio.gather(*(log.append("here", e) for e in (*keyed, event(3), *keyed)))
    assert [cursor and cursor.position for cursor in again] == [None, 2, 3, None, None]
    assert await log.append("there", keyed[0]) is not None
    await follower.wait_for(3)
    assert [number_of(entry) for entry in follower.entries] == [1, 2, 3]
