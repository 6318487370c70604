"""Threads: their number, the calls that wait for them, and their end."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator

import pytest

from server.common.metrics import Metrics
from server.sync_api.threads import Busy, Stopped, Threads
from tests.support.stream import eventually

BOUND_S = 60.0
NAME: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")


class Gate:
    """Work that waits in its thread until `open` is set."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.begun: list[int] = []

    def pass_through(self, number: int = 0) -> int:
        self.begun.append(number)
        assert self.open.wait(BOUND_S)
        return number


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def threads(gate: Gate) -> AsyncIterator[Threads]:
    pool = Threads("test", 2, Metrics(), waiting_max=3)
    yield pool
    gate.open.set()
    pool.stop()
    await pool.join(BOUND_S)


def alive() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("test-")]


async def test_no_thread_is_started_before_it_is_needed_and_one_serves_calls_in_turn(
    threads: Threads,
) -> None:
    assert alive() == []
    for number in range(50):
        assert await threads.run(lambda number=number: number) == number
    assert alive() == ["test-0"]


async def test_errors_and_context_variables_are_passed_between_threads(threads: Threads) -> None:
    NAME.set("attic")
    assert await threads.run(NAME.get) == "attic"
    error = OSError("as it was")

    def fail() -> None:
        raise error

    with pytest.raises(OSError, match="as it was") as caught:
        await threads.run(fail)
    assert caught.value is error


@pytest.mark.parametrize("error", [StopIteration(3), SystemExit(3), KeyboardInterrupt()])
async def test_an_exception_that_would_end_or_hang_the_loop_is_an_error_of_the_call(
    threads: Threads, error: BaseException
) -> None:
    def fail() -> None:
        raise error

    async with asyncio.timeout(BOUND_S):
        with pytest.raises(RuntimeError, match=type(error).__name__) as raised:
            await threads.run(fail)
    assert raised.value.__cause__ is error
    assert await threads.run(lambda: 7) == 7


async def test_a_call_beyond_the_limit_is_refused_at_once_and_the_others_are_answered(
    threads: Threads, gate: Gate
) -> None:
    calls = [asyncio.create_task(threads.run(lambda n=n: gate.pass_through(n))) for n in range(5)]
    await eventually(lambda: len(gate.begun) == 2, "both threads are taken")
    with pytest.raises(Busy):
        await threads.run(gate.pass_through)
    assert alive() == ["test-0", "test-1"]
    gate.open.set()
    assert await asyncio.gather(*calls) == [0, 1, 2, 3, 4]
    assert await threads.run(lambda: "room again") == "room again"


async def test_a_call_that_waits_too_long_is_refused_and_never_started(gate: Gate) -> None:
    pool = Threads("test", 1, Metrics(), wait_s=0.05)
    first = asyncio.create_task(pool.run(gate.pass_through))
    await eventually(lambda: gate.begun, "the thread is taken")
    with pytest.raises(Busy, match="no thread was free"):
        await pool.run(lambda: gate.begun.append(1))
    gate.open.set()
    await first
    assert await pool.run(lambda: list(gate.begun)) == [0]
    pool.stop()
    await pool.join(BOUND_S)


async def test_a_caller_that_gives_up_while_waiting_makes_room_for_another(
    threads: Threads, gate: Gate
) -> None:
    calls = [asyncio.create_task(threads.run(lambda n=n: gate.pass_through(n))) for n in range(5)]
    await eventually(lambda: len(gate.begun) == 2, "both threads are taken")
    calls[4].cancel()
    await asyncio.gather(calls[4], return_exceptions=True)
    other = asyncio.create_task(threads.run(lambda: gate.pass_through(9)))
    await asyncio.sleep(0)  # it queues while both threads are taken
    gate.open.set()
    assert await other == 9
    await asyncio.gather(*calls[:4])
    assert sorted(gate.begun) == [0, 1, 2, 3, 9]


async def test_work_whose_caller_has_gone_is_completed(threads: Threads, gate: Gate) -> None:
    done = threading.Event()

    def work() -> None:
        gate.pass_through()
        done.set()

    call = asyncio.create_task(threads.run(work))
    await eventually(lambda: gate.begun, "it has begun")
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    gate.open.set()
    assert await asyncio.to_thread(done.wait, BOUND_S)


async def test_stop_refuses_waiting_calls_finishes_running_ones_and_leaves_no_thread(
    gate: Gate,
) -> None:
    pool = Threads("test", 1, Metrics())
    running = asyncio.create_task(pool.run(gate.pass_through))
    await eventually(lambda: gate.begun, "one runs")
    waiting = asyncio.create_task(pool.run(gate.pass_through))
    await asyncio.sleep(0)
    pool.stop()
    with pytest.raises(Stopped):
        await waiting
    with pytest.raises(Stopped):
        await pool.run(gate.pass_through)
    gate.open.set()
    assert await running == 0
    await pool.join(BOUND_S)
    assert alive() == []


async def test_the_wait_for_a_call_that_does_not_return_is_bounded(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    pool = Threads("test", 1, Metrics())
    running = asyncio.create_task(pool.run(gate.pass_through))
    await eventually(lambda: gate.begun, "one runs")
    pool.stop()
    await pool.join(0.01)
    assert "1 test calls did not end in time" in caplog.text
    gate.open.set()
    await running
