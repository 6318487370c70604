"""GroupedReads: simultaneous reads are combined, and none gets data older than its start."""

from __future__ import annotations

import asyncio

import pytest

from server.services.ports.documents import BATCH_MAX, Document, StoreUnavailable
from server.services.sqlite.grouped_reads import GroupedReads


class Store:
    """Documents whose version is the number of the read; each read waits for `gate`."""

    def __init__(self) -> None:
        self.reads: list[dict[str, list[str]]] = []
        self.gate = asyncio.Semaphore(0)
        self.error: StoreUnavailable | None = None
        self.began = asyncio.Event()

    async def read(self, wanted):
        self.reads.append(wanted)
        self.began.set()
        number = len(self.reads)
        await self.gate.acquire()
        if self.error is not None:
            raise self.error
        return {
            name: {one: Document(one, str(number), {"of": name}) for one in ids if one != "none"}
            for name, ids in wanted.items()
        }


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def gathered(store):
    return GroupedReads(store.read, 600, StoreUnavailable)


async def begun(store, gathered):
    """Starts a read and waits until it runs."""
    task = asyncio.create_task(gathered.get_many("zones", ["first"]))
    await store.began.wait()
    return task


async def test_requests_during_a_read_are_combined_in_the_next_one(store, gathered):
    first = await begun(store, gathered)
    later = [
        asyncio.create_task(gathered.get_many(name, ids))
        for name, ids in (("zones", ["a", "b"]), ("zones", ["b", "none"]), ("users", ["a"]))
    ]
    await asyncio.sleep(0)
    store.gate.release()
    store.gate.release()
    assert list(await first) == ["first"]
    zones, more, users = await asyncio.gather(*later)
    assert store.reads == [{"zones": ["first"]}, {"zones": ["a", "b", "none"], "users": ["a"]}]
    assert (list(zones), list(more), list(users)) == (["a", "b"], ["b"], ["a"])
    assert users["a"].fields == {"of": "users"}


async def test_a_request_never_gets_data_that_were_read_before_it(store, gathered):
    first = await begun(store, gathered)
    second = asyncio.create_task(gathered.get_many("zones", ["first"]))
    await asyncio.sleep(0)
    store.gate.release()
    store.gate.release()
    assert (await first)["first"].version == "1"
    assert (await second)["first"].version == "2"


async def test_a_combined_read_is_at_most_as_large_as_a_batch(store, gathered):
    first = await begun(store, gathered)
    many = [
        asyncio.create_task(gathered.get_many("zones", [str(number), f"{number}x"]))
        for number in range(BATCH_MAX)
    ]
    await asyncio.sleep(0)
    for _ in range(4):
        store.gate.release()
    found = await asyncio.gather(first, *many)
    assert sum(len(one) for one in found) == 1 + 2 * BATCH_MAX
    assert [len(one["zones"]) for one in store.reads] == [1, BATCH_MAX, BATCH_MAX]


async def test_a_failed_read_fails_for_all_waiting_requests_and_for_none_after_it(store, gathered):
    first = await begun(store, gathered)
    waiting = [asyncio.create_task(gathered.get_many("zones", ["a"])) for _ in range(3)]
    await asyncio.sleep(0)
    store.error = StoreUnavailable(message="lost")
    store.gate.release()
    outcomes = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert [type(one) for one in outcomes] == [StoreUnavailable] * 4
    store.error = None
    store.gate.release()
    assert list(await gathered.get_many("zones", ["a"])) == ["a"]


async def test_a_caller_that_gives_up_does_not_cancel_the_read_of_the_others(store, gathered):
    first = await begun(store, gathered)
    left, stays = (asyncio.create_task(gathered.get_many("zones", ["a"])) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    left.cancel()
    store.gate.release()
    store.gate.release()
    assert list(await stays) == ["a"]


async def test_a_request_beyond_the_limit_is_refused_at_once(store, gathered):
    first = await begun(store, gathered)
    waiting = [asyncio.create_task(gathered.get_many("zones", ["a"])) for _ in range(599)]
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await gathered.get_many("zones", ["a"])
    store.gate.release()
    store.gate.release()
    store.gate.release()
    await asyncio.gather(first, *waiting)
