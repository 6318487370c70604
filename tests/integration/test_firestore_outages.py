"""FirestoreClient while Firestore hangs or is down: limited waits, recovery, no lost write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from server.services.firestore.copy import patiently
from server.services.firestore.google.client import CALL_S, FirestoreClient
from server.services.ports.documents import PAGE_MAX, Create, Put, Query, StoreUnavailable
from tests.support.firestore import opened
from tests.support.stream import eventually
from tools.firestore_emulator import FirestoreEmulator

# Of a call, which gives up after 2.5 s; without that it would wait for a minute, or for ever.
BOUND_S = 20.0
# A call that waits takes this long at least.
TRIED_S = 1.0
RECOVERY_S = 60.0
CALLS: dict[str, Callable[[FirestoreClient], Awaitable[object]]] = {
    "get": lambda c: c.get("things", "a"),
    "write": lambda c: c.write([Put("things", "a", {})]),
    "query": lambda c: c.query(Query("things"), 5),
    "long query": lambda c: c.query(Query("things"), PAGE_MAX),
    "aggregate": lambda c: c.aggregate(Query("things")),
    "ping": lambda c: c.ping(),
}


async def outcome(call: Awaitable[object]) -> tuple[object, float]:
    """The result or the error of a call, and its seconds."""
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


async def test_calls_fail_in_time_while_firestore_hangs_and_work_again_afterwards(
    emulator: FirestoreEmulator,
) -> None:
    async with opened(emulator.host) as client:
        await client.write([Put("things", "a", {"n": 1})])
        emulator.pause()
        results = await asyncio.gather(*(outcome(call(client)) for call in CALLS.values()))
        for name, (result, seconds) in zip(CALLS, results, strict=True):
            assert isinstance(result, StoreUnavailable), name
            assert seconds < BOUND_S, name
        # The circuit breaker is open now, so calls fail at once.
        refused = await asyncio.gather(*(outcome(call(client)) for call in CALLS.values()))
        assert all(isinstance(result, StoreUnavailable) for result, _ in refused)
        assert sum(seconds < TRIED_S for _, seconds in refused) >= len(CALLS) - 1
        emulator.resume()
        await until_it_answers(client)
        assert await client.write([Put("things", "a", {"n": 2})])


@pytest.mark.long
async def test_calls_fail_in_time_while_firestore_is_down_and_work_again_afterwards(
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


async def test_a_copy_waits_for_a_store_that_hangs_for_a_while(
    emulator: FirestoreEmulator,
) -> None:
    puts = [Put("things", f"t{n}", {"n": n}) for n in range(250)]
    async with opened(emulator.host) as client:
        await client.ping()
        emulator.pause()
        writing = asyncio.create_task(patiently(puts, client.write))
        # Longer than the retries of a single write.
        await asyncio.wait({writing}, timeout=CALL_S + 0.5)
        emulator.resume()
        await writing
        await until_it_answers(client)
        assert (await client.aggregate(Query("things"))).count == len(puts)


async def test_every_acknowledged_write_is_stored_after_firestore_hung(
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


async def test_closing_the_client_fails_the_calls_that_still_wait(
    emulator: FirestoreEmulator,
) -> None:
    async with opened(emulator.host) as client:
        await client.ping()
        emulator.pause()
        waiting = [asyncio.create_task(outcome(client.get("things", "a"))) for _ in range(3)]
        await asyncio.sleep(0)
        await client.close()
        for result, seconds in await asyncio.gather(*waiting):
            assert isinstance(result, StoreUnavailable)
            assert seconds < TRIED_S
        emulator.resume()
