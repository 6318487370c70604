"""LoopTurns: turns are taken one at a time, in order, and after all other work that is ready."""

from __future__ import annotations

import asyncio

import pytest

from server.common.loop_turns import LoopTurns


async def test_waiting_callers_get_their_turns_in_the_order_of_their_arrival():
    turns, begun = LoopTurns(), []

    async def one(number):
        async with turns.turns():
            begun.append(number)

    await asyncio.gather(*map(one, range(20)))
    assert begun == list(range(20))


async def test_one_pass_of_the_event_loop_has_at_most_one_turn():
    turns, passes, now = LoopTurns(), [], 0

    async def count():
        nonlocal now
        while True:
            await asyncio.sleep(0)
            now += 1

    async def one():
        await turns.turn()
        passes.append(now)

    counting = asyncio.create_task(count())
    await asyncio.gather(*(one() for _ in range(20)))
    counting.cancel()
    assert len(set(passes)) == 20


async def test_other_callers_wait_until_a_series_of_turns_has_ended():
    turns, done = LoopTurns(), []

    async def long():
        async with turns.turns():
            for _ in range(5):
                await asyncio.sleep(0)
            done.append("long")

    async def short():
        await turns.turn()
        done.append("short")

    await asyncio.gather(long(), short())
    assert done == ["long", "short"]


async def test_a_caller_that_gives_up_or_fails_does_not_block_the_others():
    turns = LoopTurns()

    async def failing():
        async with turns.turns():
            raise KeyError

    waiting = [asyncio.create_task(turns.turn()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    await waiting[2]
    with pytest.raises(KeyError):
        await failing()
    await turns.turn()
