"""FirestoreClient while Firestore hangs, or is gone: bounded waits, recovery, nothing lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from server.services.firestore.base import PAGE_MAX, Create, Put, Query, StoreUnavailable
from server.services.firestore.client import FirestoreClient
from server.services.firestore.copying import write_patiently
from tests.support.firestore import FirestoreEmulator, need_firestore, opened
from tests.support.stream import eventually

BOUND_S = 3.0
RECOVERY_S = 15.0
CALLS: dict[str, Callable[[FirestoreClient], Awaitable[object]]] = {
    "get": lambda c: c.get("things", "a"),
    "write": lambda c: c.write([Put("things", "a", {})]),
    "query": lambda c: c.query(Query("things"), 5),
    "long query": lambda c: c.query(Query("things"), PAGE_MAX),
    "aggregate": lambda c: c.aggregate(Query("things")),
    "ping": lambda c: c.ping(),
}


@pytest.fixture
def emulator() -> Iterator[FirestoreEmulator]:
    """An emulator of the test's own, to be stopped and killed."""
    need_firestore()
    with FirestoreEmulator() as one:
        yield one


async def outcome(call: Awaitable[object]) -> tuple[object, float]:
    """What a call returned or raised, and after how many seconds."""
    began = time.monotonic()
    try:
        result: object = await call
    except Exception as error:  # noqa: BLE001 - judged by the test
        result = error
    return result, time.monotonic() - began


async def until_it_answers(client: FirestoreClient) -> None:
    async def answers() -> bool:
        return not isinstance((await outcome(client.ping()))[0], StoreUnavailable)

    await eventually(answers, "Firestore answers", RECOVERY_S)


async def test_a_store_that_hangs_is_unavailable_in_time_and_comes_back(
    emulator: FirestoreEmulator,
) -> None:
    async with opened(emulator.host) as client:
        await client.write([Put("things", "a", {"n": 1})])
        emulator.pause()
        results = await asyncio.gather(*(outcome(call(client)) for call in CALLS.values()))
        for name, (result, seconds) in zip(CALLS, results, strict=True):
            assert isinstance(result, StoreUnavailable), name
            assert seconds < BOUND_S, name
        # The breaker is open now: nobody waits for what does not answer.
        refused = await asyncio.gather(*(outcome(call(client)) for call in CALLS.values()))
        assert all(isinstance(result, StoreUnavailable) for result, _ in refused)
        assert sum(seconds < 0.2 for _, seconds in refused) >= len(CALLS) - 1
        emulator.resume()
        await until_it_answers(client)
        assert await client.write([Put("things", "a", {"n": 2})])


async def test_a_store_that_is_gone_is_unavailable_in_time_and_comes_back(
    emulator: FirestoreEmulator,
) -> None:
    async with opened(emulator.host) as client:
        await client.ping()
        emulator.kill()
        results = await asyncio.gather(*(outcome(call(client)) for call in CALLS.values()))
        for name, (result, seconds) in zip(CALLS, results, strict=True):
            assert isinstance(result, StoreUnavailable), name
            assert seconds < BOUND_S, name
            assert emulator.host in str(result), name
        emulator.start()
        await until_it_answers(client)
        assert await client.write([Create("things", "a", {})])


async def test_a_copy_waits_for_a_store_that_is_silent_for_a_while(
    emulator: FirestoreEmulator,
) -> None:
    puts = [Put("things", f"t{n}", {"n": n}) for n in range(250)]
    async with opened(emulator.host) as client:
        await client.ping()
        emulator.pause()
        writing = asyncio.create_task(write_patiently(client, puts))
        # Longer than one write is tried.
        await asyncio.wait({writing}, timeout=BOUND_S)
        emulator.resume()
        await writing
        await until_it_answers(client)
        assert (await client.aggregate(Query("things"))).count == len(puts)


async def test_no_write_that_was_acknowledged_is_missing_after_hangs(
    emulator: FirestoreEmulator,
) -> None:
    acknowledged: set[str] = set()
    ended = asyncio.Event()

    async def post(client: FirestoreClient, poster: int) -> None:
        n = 0
        while not ended.is_set():
            n += 1
            result, seconds = await outcome(
                client.write(
                    [
                        Create("things", f"p{poster}n{n}", {}),
                        Put("zones", f"z{poster % 10}", {"n": n}),
                    ]
                )
            )
            assert seconds < BOUND_S
            if isinstance(result, list):
                acknowledged.add(f"p{poster}n{n}")
            else:
                assert isinstance(result, StoreUnavailable)
                await asyncio.sleep(0.02)

    async with opened(emulator.host) as client:
        async with asyncio.TaskGroup() as posters:
            for poster in range(20):
                posters.create_task(post(client, poster))
            for hang_s in (0.3, 1.5, 0):
                goal = len(acknowledged) + 100

                await eventually(
                    lambda goal=goal: len(acknowledged) >= goal, "100 writes", RECOVERY_S
                )
                emulator.pause()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.get("things", "x"), hang_s)
                emulator.resume()
            ended.set()
        names = sorted(acknowledged)
        for start in range(0, len(names), 500):
            part = names[start : start + 500]
            assert set(await client.get_many("things", part)) == set(part)


async def test_a_client_that_closes_tells_those_who_still_wait(emulator: FirestoreEmulator) -> None:
    async with opened(emulator.host) as client:
        await client.ping()
        emulator.pause()
        waiting = [asyncio.create_task(outcome(client.get("things", "a"))) for _ in range(3)]
        await asyncio.sleep(0)
        await client.close()
        for result, seconds in await asyncio.gather(*waiting):
            assert isinstance(result, StoreUnavailable)
            assert seconds < 1
        emulator.resume()
