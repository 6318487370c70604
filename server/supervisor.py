"""Several server processes on one port: the dead are replaced, a roll renews all, a stop drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable
from functools import partial

from server.child import Child, Command
from server.serve import BACKLOG, Ready, bind

log = logging.getLogger(__name__)

FAILURE = 1
STEADY_S = 30.0
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
# Longer than this no connection waits for a child: its socket is closed, the others' take over.
HOLD_S = 1.0


class Backoff:
    """How long a place stays empty after its child died: not at all, then longer each time."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._deaths = 0

    def delay_s(self, lived_s: float) -> float:
        """Seconds to wait for a child that lived this long; up to a half is left off at random."""
        if lived_s >= STEADY_S:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        # A float's power of 2 ends at 1023.
        delay_s = FIRST_DELAY_S * 2.0 ** min(self._deaths - 2, 100)
        return min(delay_s, LONGEST_DELAY_S) * (1 - self._jitter() / 2)


class _Place:
    """A listening socket and the child behind it.

    While no child is, connections wait in the socket for the next one.
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
        self._changing = asyncio.Lock()
        self._ended = asyncio.Event()
        self._hurry = asyncio.Event()

    async def keep(self) -> None:
        """See to it that a child is at work here, until cancelled."""
        while True:
            async with self._changing:
                while self.child is None or not self.child.ready or self.child.end.done():
                    await self._refill(self.child)
                self.filled.set()
            await self._ended.wait()
            self._ended.clear()

    async def _refill(self, dead: Child | None) -> None:
        if dead is not None:
            delay_s = self._backoff.delay_s(asyncio.get_running_loop().time() - self._began)
            log.warning("child %d ended (%s); next in %.1f s", dead.pid, dead.fate, delay_s)
            await self._pause(delay_s)
        try:
            await self.fill()
        except OSError as error:
            log.error("no child can be started: %s", error)

    async def _pause(self, delay_s: float) -> None:
        if delay_s > HOLD_S:
            self.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._hurry.wait()
                self._backoff = Backoff()
        self._hurry.clear()

    async def fill(self) -> None:
        """Start a child and wait for what becomes of it. Raises OSError."""
        if self._sock is None:
            self._sock = self._bind_another()
        self.child = await self._begin(self._sock)

    async def _begin(self, sock: socket.socket) -> Child:
        self._began = asyncio.get_running_loop().time()
        child = await self._start(sock)
        child.end.add_done_callback(lambda _: self._ended.set())
        return child

    async def roll(self) -> bool:
        """Put a new child in the place of this one, which then drains; False: it stays."""
        if self._changing.locked():
            # A dead one is being replaced as it is; there is nothing to wait for any longer.
            self._hurry.set()
            return True
        async with self._changing:
            old, sock = self.child, self._sock
            assert old is not None
            assert sock is not None
            try:
                new = await self._begin(sock)
            except OSError as error:
                log.error("no child can be started: %s", error)
                return False
            if not new.ready:
                log.error("child %d ended (%s) in place of %d", new.pid, new.fate, old.pid)
                return False
            self.child = new
        await old.stop()
        return True

    def close(self) -> None:
        """Take no more connections, but for those that the child takes."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


class Supervisor:
    """N children on one address, each with a socket of its own between which the kernel deals."""

    def __init__(self, host: str, port: int, count: int, command: Command) -> None:
        """Take the address. Raises OSError saying what to do."""
        # A socket that is not shared finds out whether somebody else listens here.
        bind(host, port).close()
        self._command = command
        self._children: set[Child] = set()
        # More at a time would only make each slower, and then too late.
        self._starting = asyncio.Semaphore(max(2, os.cpu_count() or 1))
        self._places: list[_Place] = []
        for _ in range(count):
            sock = bind(host, port, shared=True)
            port = sock.getsockname()[1]
            bind_another = partial(bind, host, port, shared=True)
            self._places.append(_Place(sock, bind_another, self._start))
            if len(self._places) == 1:
                # The others' begin with their children: no connection waits where nobody is yet.
                sock.listen(BACKLOG)
        self._port = port

    async def run(
        self,
        stop: asyncio.Event,
        roll: asyncio.Event,
        ready: Ready,
        end: Callable[[], Awaitable[None]],
    ) -> int:
        """Keep all children at work until `stop`; the exit code.

        `ready` is awaited with the port once every child accepts connections, `end` before they
        are told to stop. Each time `roll` is set, all are renewed.
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

    def close(self) -> None:
        """Give the address up."""
        for place in self._places:
            place.close()

    async def _work(self, roll: asyncio.Event, ready: Ready) -> int:
        await self._places[0].fill()
        first = self._places[0].child
        assert first is not None
        if not first.ready:
            code = first.end.result()
            if code <= 0:
                log.error("child %d ended before it was ready: %s", first.pid, first.fate)
            return code if code > 0 else FAILURE
        async with asyncio.TaskGroup() as group:
            for place in self._places:
                group.create_task(place.keep())
            for place in self._places:
                await place.filled.wait()
            await ready(self._port)
            while True:
                await roll.wait()
                roll.clear()
                await self._roll()

    async def _roll(self) -> None:
        log.info("rolling: each child gives way to a new one")
        for place in self._places:
            if not await place.roll():
                log.error("the roll stops here: the other children stay as they are")
                return
        log.info("rolled")

    async def _start(self, sock: socket.socket) -> Child:
        async with self._starting:
            child = await Child.start(self._command, sock)
            self._children.add(child)
            child.end.add_done_callback(lambda _: self._children.discard(child))
            await child.becomes_ready()
        return child
