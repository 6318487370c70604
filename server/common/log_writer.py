"""LogWriter: writes log lines in a thread, so that a reader of the log cannot stop the server.

A pipe that nobody reads, or a terminal or disk that stalls, makes a write wait for as long as it
likes. On the event loop that would stop every answer, and relays would stay as they are.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from server.common.log_lines import FORMATS
from server.common.repeated_lines import RepeatedLines

# Lines that wait for the reader, in bytes. Ten minutes of a busy log are less.
WAITING_MAX_BYTES = 1_000_000
# How often it is attempted again to say how many lines were dropped.
AGAIN_S = 1.0
# The most that the end of the process waits for the last lines.
FLUSH_S = 1.0


class LogWriter(logging.Handler):
    """A handler whose `emit` never waits for the file `fd`.

    If WAITING_MAX_BYTES wait, or the write fails, lines are dropped. When a write succeeds again,
    one line says how many, and since when. `dropped` counts them all; `on_drop` is called with the
    number of further ones, in any thread, and must not log.
    """

    def __init__(self, fd: int, *, waiting_max_bytes: int = WAITING_MAX_BYTES) -> None:
        super().__init__()
        self.dropped = 0
        self.on_drop: Callable[[int], None] = _ignore
        self._fd = fd
        self._max_bytes = waiting_max_bytes
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._unsaid = 0
        self._unsaid_since = 0.0
        self._closing = False
        self._repeated = RepeatedLines()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changed:
            if not self._repeated.may_log(record):
                self._changed.notify_all()
                return
        self._enqueue(record)

    def _enqueue(self, record: logging.LogRecord) -> None:
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        except Exception:  # noqa: BLE001 - a wrong log call must not fail its caller
            line = f"a log line of {record.name} could not be made: {record.msg!r}\n".encode()
        with self._changed:
            fits = self._bytes + len(line) <= self._max_bytes
            if fits:
                self._waiting.append(line)
                self._bytes += len(line)
                self._changed.notify_all()
        if not fits:
            self._drop()

    def flush(self) -> None:
        """Wait until all lines are written, but FLUSH_S at most: nobody may read them."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, FLUSH_S)

    def close(self) -> None:
        """End the thread once it has written all lines; it ends with the process at the latest."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(FLUSH_S)
        super().close()

    def _drop(self) -> None:
        with self._changed:
            self.dropped += 1
            self._unsaid_since = self._unsaid_since if self._unsaid else time.monotonic()
            self._unsaid += 1
        self.on_drop(1)

    def _work(self) -> None:
        while True:
            with self._changed:
                again_s = AGAIN_S if self._unsaid or self._repeated.has_left_out else None
                self._changed.wait_for(lambda: self._waiting or self._closing, again_s)
                summaries = self._repeated.summaries(everything=self._closing)
                line = self._waiting[0] if self._waiting else b""
                closing = self._closing
            for summary in summaries:
                self._enqueue(summary)
            if line:
                written = self._write(line)
                with self._changed:
                    self._waiting.popleft()
                    self._bytes -= len(line)
                    self._changed.notify_all()
                if not written:
                    self._drop()
                continue
            self._say_dropped()
            if closing and not summaries:
                return

    def _say_dropped(self) -> None:
        count, since = self._unsaid, self._unsaid_since
        if not count:
            return
        words = (
            "%d log lines were dropped in the last %.0f s, because the log took none: look at the "
            "program that reads it, and at the disk that it is on"
        )
        about = count, time.monotonic() - since
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, words, about, None)
        if self._write((self.format(record) + "\n").encode()):
            with self._changed:
                self._unsaid -= count
                self._unsaid_since = time.monotonic()

    def _write(self, line: bytes) -> bool:
        """Write the line for as long as that takes; return whether it was written."""
        while line:
            try:
                line = line[os.write(self._fd, line) :]
            except BlockingIOError:  # another program has set the file to non-blocking
                select.select([], [self._fd], [], AGAIN_S)
            except OSError:  # the disk is full, or the reader is gone
                return False
        return True


def log_to_stderr(level: str, style: str) -> LogWriter:
    """Log from this level on to standard error, one line for each record, in this style.

    `style` is a name in FORMATS.
    """
    # No line has the name that `multiprocessing` gives to a process; asking it loads the package.
    logging.logMultiprocessing = False
    writer = LogWriter(_descriptor_of_stderr())
    writer.setFormatter(FORMATS[style]())
    logging.basicConfig(level=level, handlers=[writer])
    return writer


def _descriptor_of_stderr() -> int:
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError):  # a program that embeds this one replaced it
        return 2


def _ignore(_: int) -> None:
    pass
