"""Supervisor: runs several server processes on one port, replaces dead ones, and renews all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable
from functools import partial

from server.http.serve import BACKLOG, OnReady, bind
from server.processes.child import Child, ChildCommand

log = logging.getLogger(__name__)

FAILURE = 1
STEADY_S = 30.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
# Connections wait at most this long for a new child. If its start is further off, its socket is
# closed, and the kernel gives new connections to the other children's sockets.
KEEP_SOCKET_S = 1.0


class Backoff:
    """The wait before a dead child is replaced: none at first, then longer each time."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._failures = 0

    def delay_s(self, lived_s: float) -> float:
        """Seconds to wait after a child that lived `lived_s`; jitter takes off up to a half."""
        if lived_s >= STEADY_S:
            self._failures = 0
        self._failures += 1
        if self._failures == 1:
            return 0.0
        # The largest exponent of a float is 1023.
        delay_s = FIRST_DELAY_S * 2.0 ** min(self._failures - 2, 100)
        return min(delay_s, LONGEST_DELAY_S) * (1 - self._jitter() / 2)


class _ChildSlot:
    """A listening socket and the child that accepts on it.

    While there is no child, connections wait in the socket for the next one.
    """

    def __init__(
        self,
        sock: socket.socket,
        bind_another: Callable[[], socket.socket],
        start: Callable[[socket.socket], Awaitable[Child]],
    ) -> None:
        self._sock: socket.socket | None = sock
        self._bind_another = bind_another
        self._start = start
        self.child: Child | None = None
        self.filled = asyncio.Event()
        self._began = 0.0
        self._backoff = Backoff()
        self._lock = asyncio.Lock()
        self._ended = asyncio.Event()
        self._skip_pause = asyncio.Event()

    async def keep(self) -> None:
        """Keep a child running on this socket until this task is cancelled."""
        while True:
            async with self._lock:
                while self.child is None or not self.child.ready or self.child.end.done():
                    await self._refill(self.child)
                self.filled.set()
            await self._ended.wait()
            self._ended.clear()

    async def _refill(self, dead: Child | None) -> None:
        if dead is not None:
            delay_s = self._backoff.delay_s(asyncio.get_running_loop().time() - self._began)
            log.warning(
                "server process %d ended (%s); a new one starts in %.1f s",
                dead.pid,
                dead.fate,
                delay_s,
            )
            await self._pause(delay_s)
        try:
            await self.fill()
        except OSError as error:
            log.error("no server process can be started: %s", error)

    async def _pause(self, delay_s: float) -> None:
        if delay_s > KEEP_SOCKET_S:
            self.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._skip_pause.wait()
                self._backoff = Backoff()
        self._skip_pause.clear()

    async def fill(self) -> None:
        """Start a child, and wait until it is ready or has ended. Raises OSError."""
        if self._sock is None:
            self._sock = self._bind_another()
        self.child = await self._begin(self._sock)

    async def _begin(self, sock: socket.socket) -> Child:
        self._began = asyncio.get_running_loop().time()
        child = await self._start(sock)
        child.end.add_done_callback(lambda _: self._ended.set())
        return child

    async def roll(self) -> bool:
        """Replace the child by a new one, then drain it; False if the new one did not start."""
        if self._lock.locked():
            # A dead child is being replaced already: end the wait before its replacement.
            self._skip_pause.set()
            return True
        async with self._lock:
            old, sock = self.child, self._sock
            assert old is not None
            assert sock is not None
            try:
                new = await self._begin(sock)
            except OSError as error:
                log.error("no server process can be started: %s", error)
                return False
            if not new.ready:
                log.error(
                    "server process %d, which was to replace another, ended (%s); process %d "
                    "goes on",
                    new.pid,
                    new.fate,
                    old.pid,
                )
                return False
            self.child = new
        await old.stop()
        return True

    def close(self) -> None:
        """Close the supervisor's socket; the child still accepts on its copy."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class Supervisor:
    """Runs `count` children on one address; the kernel distributes connections to their sockets."""

    def __init__(self, host: str, port: int, count: int, command: ChildCommand) -> None:
        """Bind the address. Raises OSError that names the remedy."""
        # A socket that is not shared fails to bind if another server listens here.
        bind(host, port).close()
        self._command = command
        self._children: set[Child] = set()
        # If more children started at a time, each would be slower and might not be ready in time.
        self._starting = asyncio.Semaphore(max(2, os.cpu_count() or 1))
        self._slots: list[_ChildSlot] = []
        for _ in range(count):
            sock = bind(host, port, shared=True)
            port = sock.getsockname()[1]
            bind_another = partial(bind, host, port, shared=True)
            self._slots.append(_ChildSlot(sock, bind_another, self._start))
            if len(self._slots) == 1:
                # The others listen once their children run: no connection waits without a child.
                sock.listen(BACKLOG)
        self._port = port

    async def run(
        self,
        stop: asyncio.Event,
        roll: asyncio.Event,
        ready: OnReady,
        end: Callable[[], Awaitable[None]],
    ) -> int:
        """Keep all children running until `stop`; return the exit code.

        `ready` is awaited with the port once every child accepts connections, `end` before the
        children get SIGTERM. Each time `roll` is set, all children are replaced.
        """
        work = asyncio.create_task(self._work(roll, ready), name="supervisor")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, stopping):
                task.cancel()
            await asyncio.wait({work, stopping})
            await end()
            self.close()
            fine = await asyncio.gather(*(child.stop() for child in self._children))
        if work.cancelled() or stop.is_set():
            return 0 if all(fine) else FAILURE
        return work.result()

    def well(self) -> bool:
        """Whether every process runs and says that all is well."""
        return all(slot.child is not None and slot.child.well for slot in self._slots)

    def close(self) -> None:
        """Release the address."""
        for slot in self._slots:
            slot.close()

    async def _work(self, roll: asyncio.Event, ready: OnReady) -> int:
        await self._slots[0].fill()
        first = self._slots[0].child
        assert first is not None
        if not first.ready:
            code = first.end.result()
            if code <= 0:
                log.error("server process %d ended before it was ready: %s", first.pid, first.fate)
            return code if code > 0 else FAILURE
        async with asyncio.TaskGroup() as group:
            for slot in self._slots:
                group.create_task(slot.keep())
            for slot in self._slots:
                await slot.filled.wait()
            await ready(self._port)
            while True:
                await roll.wait()
                roll.clear()
                await self._roll()

    async def _roll(self) -> None:
        log.info("SIGHUP: each server process is replaced by a new one")
        for slot in self._slots:
            if not await slot.roll():
                log.error(
                    "SIGHUP: the replacement stops here, the other server processes go on; "
                    "the line above says why"
                )
                return
        log.info("SIGHUP: all server processes are replaced")

    async def _start(self, sock: socket.socket) -> Child:
        async with self._starting:
            child = await Child.start(self._command, sock)
            self._children.add(child)
            child.end.add_done_callback(lambda _: self._children.discard(child))
            await child.becomes_ready()
        return child
