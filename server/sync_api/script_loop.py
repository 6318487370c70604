"""Runs an event loop in a separate thread, so that scripts can open and close async resources."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

import uvloop

T = TypeVar("T")


@contextmanager
def running(opener: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Open a resource within the block, on an event loop that runs in another thread.

    Errors at opening or closing are raised in the caller's thread. After the block the other
    thread has ended.
    """
    opened: Future[tuple[T, Callable[[], object]]] = Future()
    closed: Future[None] = Future()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with opener() as resource:
            opened.set_result((resource, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    def run() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(main())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            (closed if opened.done() else opened).set_exception(error)
        else:
            closed.set_result(None)

    # A daemon, so that an interrupted script can end; otherwise it is always joined below.
    thread = threading.Thread(target=run, name="bas-loop", daemon=True)
    thread.start()
    try:
        resource, stop = opened.result()
    except BaseException:
        if opened.done():
            thread.join()
        raise
    try:
        yield resource
    finally:
        stop()
        thread.join()
        closed.result()
