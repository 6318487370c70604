"""SyncBridge: the only way from another thread to the server's event loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from server.common.errors import Unavailable

T = TypeVar("T")

# Longer than the time-outs of the stores and the log, which are a few seconds.
CALL_S = 10.0
# The time that cancelled calls have to clean up when the bridge closes.
CLOSE_S = 1.0


class WrongThread(RuntimeError):
    """A call came from the loop's thread, where it would wait for itself for ever."""

    def __init__(self) -> None:
        super().__init__(
            "this is the event loop's thread: await the async service here; the sync faces are for "
            "other threads (a plain `def` view, a script under open_bridge)"
        )


class BridgeClosed(Unavailable):
    """The loop is closing or closed; a call that was running may have taken effect."""

    error = "Server is shutting down"
    code = "BRIDGE_CLOSED"


class CallTimedOut(Unavailable, TimeoutError):
    """The call did not end in time and was cancelled; it may have taken effect."""

    error = "Call timed out"
    code = "CALL_TIMED_OUT"


class _Call(Generic[T]):
    """One running call; its result is set once, and only on the loop."""

    def __init__(self, async_fn: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> None:
        self.result: Future[T] = Future()
        self._async_fn, self._args = async_fn, args
        self._task: asyncio.Task[T] | None = None

    def start(self) -> None:
        if self.result.done():
            return  # it timed out, or the bridge closed, before it started
        try:
            self._task = asyncio.ensure_future(_run(self._async_fn, self._args))
        except Exception as error:  # noqa: BLE001 - raised again where the call was made
            self.result.set_exception(error)
        else:
            self._task.add_done_callback(self._done)

    def end(self, error: Exception) -> asyncio.Task[T] | None:
        """Raise `error` in the waiting thread, cancel the task, and return it if there is one."""
        if not self.result.done():
            self.result.set_exception(error)
        if self._task is not None:
            self._task.cancel()
        return self._task

    def _done(self, task: asyncio.Task[T]) -> None:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self.result.done():
            return
        if error is not None:
            self.result.set_exception(error)
        else:
            self.result.set_result(task.result())


class SyncBridge:
    """Runs coroutines on one event loop for callers in other threads; create it on that loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        # Reentrant: a thread that holds it may collect garbage, such as a stream whose __del__
        # calls `post`.
        self._lock = threading.RLock()
        self._calls: set[_Call[Any]] = set()
        self._closed = False

    def call(self, async_fn: Callable[..., Awaitable[T]], *args: Any, timeout: float = CALL_S) -> T:
        """Run `async_fn(*args)` on the loop; return its result or raise its exception.

        It has this thread's context variables, and is cancelled after `timeout` seconds.
        Raises CallTimedOut, BridgeClosed, and WrongThread on the loop's own thread.
        """
        if not 0 < timeout <= threading.TIMEOUT_MAX:
            raise ValueError(f"timeout must be a positive number of seconds, not {timeout!r}")
        call = _Call(async_fn, args)
        with self._lock:
            if self._closed:
                raise BridgeClosed
            if threading.get_ident() == self._thread:
                raise WrongThread
            self._on_loop(call.start)
            self._calls.add(call)
        try:
            # The coroutine's own TimeoutError is returned here, not raised.
            error = call.result.exception(timeout)
        except BaseException as waiting:
            # The call timed out, or the waiting thread was interrupted (KeyboardInterrupt).
            timed_out = CallTimedOut(message=f"after {timeout:g} s")
            with self._lock:
                if not self._closed:
                    self._on_loop(call.end, timed_out)
            if isinstance(waiting, TimeoutError):
                raise timed_out from None
            raise
        finally:
            with self._lock:
                self._calls.discard(call)
        if error is None:
            return call.result.result()
        try:
            raise error
        finally:
            del error, call  # with the traceback they would form a reference cycle

    def post(self, callback: Callable[[], object]) -> None:
        """Run `callback` on the loop soon, from any thread. Raises BridgeClosed."""
        with self._lock:
            if self._closed:
                raise BridgeClosed
            self._on_loop(callback)

    async def close(self) -> None:
        """Refuse new calls, end running ones with BridgeClosed, and wait CLOSE_S for their end."""
        with self._lock:
            self._closed = True
            calls = list(self._calls)
        tasks = {task for call in calls if (task := call.end(BridgeClosed())) is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)

    def _on_loop(self, callback: Callable[..., object], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args, context=contextvars.copy_context())
        except RuntimeError:
            raise BridgeClosed(message="its event loop is closed") from None


async def _run(async_fn: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> T:
    return await async_fn(*args)
