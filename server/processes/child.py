"""Child: starts a child process of the supervisor, waits until it is ready, and stops it."""

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
# A child drains within 5 s (server/http/serve.py).
STOP_S, KILL_S = 8.0, 2.0
# A child that is ready is asked this often whether it works; after so many questions in a row
# without an answer, 10 s, it is killed. Time in which the whole machine sleeps does not count.
ASK_S, UNANSWERED_MAX = 2.0, 5


@dataclass(frozen=True)
class ChildCommand:
    """How a child is started; `ended` is called with the id of each child that has ended."""

    words: Sequence[str]
    environment: Mapping[str, str]
    ended: Callable[[int], None]


class Child:
    """One child process, from its start to its end.

    The child holds one end of a channel. It writes there when it accepts connections, and answers
    the supervisor's questions; when the supervisor ends, the channel closes, and the child stops.
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
        self.well = False
        """Whether its last answer was that all is well."""
        self._terminated = False
        self._asking: asyncio.Task[None] | None = None
        self.end = asyncio.create_task(self._end(ended), name=f"child {self.pid}")

    @classmethod
    async def start(cls, command: ChildCommand, sock: socket.socket) -> Child:
        """Start a process that accepts connections on this socket. Raises OSError."""
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
                    # A terminal's signals go to the supervisor only, which passes them on.
                    start_new_session=True,
                )
            except BaseException:
                channel[1].close()
                raise
        return cls(process, channel, command.ended)

    async def becomes_ready(self) -> bool:
        """Whether the child accepts connections within READY_S; if not, it has ended."""
        try:
            async with asyncio.timeout(READY_S):
                self.ready = await self._reader.read(1) != b""
        except TimeoutError:
            log.error("server process %d did not become ready within %g s", self.pid, READY_S)
            self._signal(signal.SIGKILL)
        if self.ready:
            self._asking = asyncio.create_task(self._ask_for_ever(), name=f"ask {self.pid}")
        else:
            await self._wait()
        return self.ready

    async def _ask_for_ever(self) -> None:
        """Kill the child when it hangs: its socket would keep its share of the connections."""
        unanswered = 0
        while unanswered < UNANSWERED_MAX:
            self._writer.write(b"?")
            pause = asyncio.create_task(asyncio.sleep(ASK_S))
            try:
                async with asyncio.timeout(ASK_S):
                    answer = await self._reader.read(64)
                if not answer:
                    return
                unanswered, self.well = 0, answer.endswith(b".")
            except TimeoutError:
                unanswered, self.well = unanswered + 1, False
            await pause
        if not self._terminated:
            log.error(
                "server process %d has not answered for %g s: it is killed, and a new one starts",
                self.pid,
                ASK_S * UNANSWERED_MAX,
            )
            self._signal(signal.SIGKILL)

    async def stop(self) -> bool:
        """Let the child drain, for STOP_S at most; return whether it ended without a failure."""
        if not self._terminated:
            # A second signal could come after the interpreter has removed its handlers.
            self._terminated = True
            self._signal(signal.SIGTERM)
        await self._wait()
        # Before the child is ready it may have no handler for SIGTERM yet.
        fine = {0} if self.ready else {0, -signal.SIGTERM}
        if self.end.done() and self.end.result() in fine:
            return True
        log.error("server process %d did not shut down in time: %s", self.pid, self.fate)
        return False

    async def _wait(self) -> None:
        await asyncio.wait({self.end}, timeout=STOP_S)
        if not self.end.done():
            self._signal(signal.SIGKILL)
            await asyncio.wait({self.end}, timeout=KILL_S)

    @property
    def fate(self) -> str:
        """How the child ended, in words."""
        if not self.end.done():
            return "it is still there"
        code = self.end.result()
        return f"exit code {code}" if code >= 0 else signal.Signals(-code).name

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _end(self, ended: Callable[[int], None]) -> int:
        code = await self._process.wait()
        if self._asking is not None:
            self._asking.cancel()
        self._writer.close()
        ended(self.pid)
        return code
