"""SyncBridge: the results and errors that a thread gets; no thread waits without a limit."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.sync_api.bridge import BridgeClosed, CallTimedOut, SyncBridge, WrongThread
from server.sync_api.script_loop import running
from tests.support.stream import eventually

BOUND_S = 60.0
TENANT: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")


@pytest.fixture
async def bridge() -> AsyncIterator[SyncBridge]:
    bridge = SyncBridge()
    yield bridge
    await bridge.close()


class Broken(Exception):
    pass


async def in_thread(work: Callable[[], Any]) -> Any:
    async with asyncio.timeout(BOUND_S):
        return await asyncio.to_thread(work)


def wait_without_turning_the_loop(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_S
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.001)


async def test_a_call_runs_on_the_loop_and_returns_its_result(bridge: SyncBridge) -> None:
    async def add(first: int, second: int) -> tuple[int, int]:
        await asyncio.sleep(0)
        return first + second, threading.get_ident()

    assert await in_thread(lambda: bridge.call(add, 2, 3)) == (5, threading.get_ident())


async def test_the_same_exception_object_is_raised_in_the_thread(bridge: SyncBridge) -> None:
    error = Broken("as it was")

    async def fail() -> None:
        raise error

    with pytest.raises(Broken) as caught:
        await in_thread(lambda: bridge.call(fail))
    assert caught.value is error


async def test_an_invalid_argument_raises_an_error_in_the_caller(bridge: SyncBridge) -> None:
    async def nothing() -> None: ...

    with pytest.raises(TypeError, match="positional argument"):
        await in_thread(lambda: bridge.call(nothing, 1))
    with pytest.raises(TypeError, match="await"):
        await in_thread(lambda: bridge.call(lambda: 1))
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="timeout"):
            await in_thread(lambda seconds=seconds: bridge.call(nothing, timeout=seconds))


async def test_a_call_that_takes_too_long_is_cancelled_and_times_out(bridge: SyncBridge) -> None:
    cancelled = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(CallTimedOut):
        await in_thread(lambda: bridge.call(wait, timeout=0.05))
    async with asyncio.timeout(BOUND_S):
        await cancelled.wait()


async def test_a_timeout_inside_the_call_is_not_taken_for_the_bridge_s(
    bridge: SyncBridge,
) -> None:
    async def impatient() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError) as caught:
        await in_thread(lambda: bridge.call(impatient))
    assert not isinstance(caught.value, CallTimedOut)


async def test_a_cancelled_call_raises_in_the_thread(bridge: SyncBridge) -> None:
    async def cancel_oneself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    def call() -> str:
        try:
            bridge.call(cancel_oneself)
        except asyncio.CancelledError:
            return "cancelled"
        return "went on"

    assert await in_thread(call) == "cancelled"


async def test_the_thread_s_context_variables_reach_the_call_and_changes_do_not_come_back(
    bridge: SyncBridge,
) -> None:
    async def exchange() -> str:
        seen = TENANT.get()
        TENANT.set("changed")
        return seen

    def call() -> tuple[str, str]:
        TENANT.set("plant-7")
        return bridge.call(exchange), TENANT.get()

    assert await in_thread(call) == ("plant-7", "plant-7")
    assert TENANT.get() == "none"


async def test_a_call_on_the_loop_s_own_thread_is_refused_instead_of_a_deadlock(
    bridge: SyncBridge,
) -> None:
    async def nothing() -> None: ...

    with pytest.raises(WrongThread, match="await the async service"):
        bridge.call(nothing)


async def test_closing_ends_every_running_call_and_leaves_no_thread_waiting() -> None:
    bridge = SyncBridge()
    started, cancelled = [], []

    async def wait() -> None:
        started.append(1)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(1)

    ended: list[BaseException] = []

    def call() -> None:
        try:
            bridge.call(wait, timeout=60)
        except BridgeClosed as error:
            ended.append(error)

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    await eventually(lambda: len(started) == len(threads), "every call has begun")
    await bridge.close()
    for thread in threads:
        thread.join(BOUND_S)
    assert (len(ended), len(cancelled)) == (20, 20)
    assert not any(thread.is_alive() for thread in threads)


async def test_a_call_that_is_still_queued_when_the_bridge_closes_is_never_started() -> None:
    bridge = SyncBridge()
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    ended: list[BaseException] = []

    def call() -> None:
        try:
            bridge.call(begin)
        except BridgeClosed as error:
            ended.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    wait_without_turning_the_loop(lambda: bool(bridge._calls))
    await bridge.close()
    thread.join(BOUND_S)
    for _ in range(5):
        await asyncio.sleep(0)  # passes of the loop in which it would start
    assert (begun, len(ended)) == ([], 1)


async def test_a_call_after_closing_is_refused() -> None:
    bridge = SyncBridge()
    await bridge.close()

    async def nothing() -> None: ...

    with pytest.raises(BridgeClosed):
        await in_thread(lambda: bridge.call(nothing))


class CollectingLoop(asyncio.SelectorEventLoop):
    """Python may collect garbage at any allocation; this loop makes it do so here."""

    def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
        gc.collect()
        return super().call_soon_threadsafe(*args, **kwargs)


def test_an_object_that_is_collected_during_a_call_may_post() -> None:
    posted: list[int] = []

    class Forgotten:
        def __init__(self, bridge: SyncBridge) -> None:
            self.bridge, self.itself = bridge, self

        def __del__(self) -> None:
            self.bridge.post(lambda: posted.append(1))

    async def nothing() -> None: ...

    async def main() -> None:
        bridge = SyncBridge()

        def work() -> None:
            Forgotten(bridge)
            bridge.call(nothing, timeout=BOUND_S)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        await eventually(lambda: not thread.is_alive(), "the call has returned")
        await eventually(lambda: posted == [1], "what it collected has posted")

    gc.disable()
    try:
        with asyncio.Runner(loop_factory=CollectingLoop) as runner:
            runner.run(main())
    finally:
        gc.enable()


def test_a_call_after_the_loop_has_ended_is_refused_in_any_thread() -> None:
    made: list[SyncBridge] = []

    async def make() -> None:
        made.append(SyncBridge())

    asyncio.run(make())

    async def nothing() -> None: ...

    refused: list[BaseException] = []

    def call() -> None:
        try:
            made[0].call(nothing)
        except BridgeClosed as error:
            refused.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(BOUND_S)
    assert len(refused) == 1


@asynccontextmanager
async def opening(log: list[str], *, fails: str = "") -> AsyncIterator[SyncBridge]:
    log.append("open")
    if fails == "open":
        raise Broken(fails)
    bridge = SyncBridge()
    try:
        yield bridge
    finally:
        await bridge.close()
        log.append("close")
        if fails == "close":
            raise Broken(fails)


def test_running_opens_its_parts_before_and_closes_them_after_the_block() -> None:
    log: list[str] = []

    async def where() -> str:
        return threading.current_thread().name

    with running(lambda: opening(log)) as bridge:
        assert bridge.call(where) == "bas-loop"
        log.append("used")
    assert log == ["open", "used", "close"]
    assert "bas-loop" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(BridgeClosed):
        bridge.call(where)


@pytest.mark.parametrize("fails", ["open", "close"])
def test_an_error_on_the_bridge_s_own_loop_is_raised_in_the_script(fails: str) -> None:
    with pytest.raises(Broken, match=fails), running(lambda: opening([], fails=fails)):
        pass
    assert "bas-loop" not in {thread.name for thread in threading.enumerate()}


def test_an_error_in_the_block_is_raised_after_everything_was_closed() -> None:
    log: list[str] = []
    with pytest.raises(Broken, match="in the script"), running(lambda: opening(log)):
        raise Broken("in the script")
    assert log == ["open", "close"]
