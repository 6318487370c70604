"""One child process of the supervisor: started on a socket, heard when ready, stopped in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

log = logging.getLogger(__name__)

READY_S = 20.0
# A child drains within 5 s (server/serve.py).
STOP_S, KILL_S = 8.0, 2.0


@dataclass(frozen=True)
class Command:
    """How a child is started; `ended` is told the id of each that is no more."""

    words: Sequence[str]
    environment: Mapping[str, str]
    ended: Callable[[int], None]


class Child:
    """One child process, from its start to its end.

    It holds one end of a channel on which it says that it accepts connections, and which shows it
    the supervisor's own end.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        channel: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        ended: Callable[[int], None],
    ) -> None:
        self._process = process
        self._reader, self._writer = channel
        self.pid = process.pid
        self.ready = False
        self._told = False
        self.end = asyncio.create_task(self._end(ended), name=f"child {self.pid}")

    @classmethod
    async def start(cls, command: Command, sock: socket.socket) -> Child:
        """A new process that is to accept on this socket. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            channel = await asyncio.open_unix_connection(sock=ours)
            files = sock.fileno(), theirs.fileno()
            try:
                process = await asyncio.create_subprocess_exec(
                    *command.words,
                    *("--child", *map(str, files)),
                    stdin=asyncio.subprocess.DEVNULL,
                    env=dict(command.environment),
                    pass_fds=files,
                    # What a terminal tells its foreground is for the supervisor to pass on.
                    start_new_session=True,
                )
            except BaseException:
                channel[1].close()
                raise
        return cls(process, channel, command.ended)

    async def becomes_ready(self) -> bool:
        """Whether it accepts connections within READY_S; if not, it has ended."""
        try:
            async with asyncio.timeout(READY_S):
                self.ready = await self._reader.read(1) != b""
        except TimeoutError:
            log.error("child %d did not become ready within %g s", self.pid, READY_S)
            self._signal(signal.SIGKILL)
        if not self.ready:
            await self._wait()
        return self.ready

    async def stop(self) -> bool:
        """Let it drain, for STOP_S at most; whether it ended as it should."""
        if not self._told:
            # A second one could meet an interpreter that has put its handlers away.
            self._told = True
            self._signal(signal.SIGTERM)
        await self._wait()
        # Before it is ready it may not yet know what to do on SIGTERM.
        fine = {0} if self.ready else {0, -signal.SIGTERM}
        if self.end.done() and self.end.result() in fine:
            return True
        log.error("child %d did not drain: %s", self.pid, self.fate)
        return False

    async def _wait(self) -> None:
        await asyncio.wait({self.end}, timeout=STOP_S)
        if not self.end.done():
            self._signal(signal.SIGKILL)
            await asyncio.wait({self.end}, timeout=KILL_S)

    @property
    def fate(self) -> str:
        """How it ended, in words."""
        if not self.end.done():
            return "it is still there"
        code = self.end.result()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _end(self, ended: Callable[[int], None]) -> int:
        code = await self._process.wait()
        self._writer.close()
        ended(self.pid)
        return code
