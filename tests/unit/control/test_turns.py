"""Turns: one at a time, in order, and whatever else is ready goes first."""

from __future__ import annotations

import asyncio

import pytest

from server.control.turns import Turns


async def test_those_who_wait_have_their_turns_in_the_order_in_which_they_came():
    turns, begun = Turns(), []

    async def one(number):
        async with turns.turns():
            begun.append(number)

    await asyncio.gather(*map(one, range(20)))
    assert begun == list(range(20))


async def test_no_two_turns_are_in_one_pass_of_the_event_loop():
    turns, passes, now = Turns(), [], 0

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


async def test_others_wait_until_a_row_of_turns_is_over():
    turns, done = Turns(), []

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


async def test_who_gives_up_while_waiting_or_in_turn_holds_up_nobody():
    turns = Turns()

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
