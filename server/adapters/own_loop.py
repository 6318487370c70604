"""A loop in a thread of its own, for scripts: opens async resources and closes them in order."""

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
    """What `opener` opens, on an event loop that runs in another thread meanwhile.

    What it raises at opening or closing is raised here. After it the thread is gone.
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

    # A daemon, so that an interrupted script can end; it is always joined here otherwise.
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
