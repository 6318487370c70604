"""LogWriter: a log that nobody takes holds up nobody, and says afterwards what is missing."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import threading
import time
from collections.abc import Iterator

import pytest

from server.common.log_lines import LogLines
from server.common.log_writer import LogWriter
from server.common.repeated_lines import LINES_A_MINUTE

BOUND_S = 30.0
DROPPED = re.compile(rb"(\d+) log lines were dropped in the last \d+ s")


class Pipe:
    """A pipe with a LogWriter at its end, and what was read of it."""

    def __init__(self, waiting_max_bytes: int) -> None:
        self.reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        self.writer = LogWriter(writing, waiting_max_bytes=waiting_max_bytes)
        self.writer.setFormatter(LogLines())
        self._writing = writing

    def log(self, text: str, level: int = logging.INFO) -> None:
        self.writer.handle(logging.LogRecord("x", level, "x.py", 1, "%s", (text,), None))

    def read_until(self, end: bytes) -> bytes:
        got, until = b"", time.monotonic() + BOUND_S
        while end not in got:
            assert time.monotonic() < until, got[-500:]
            got += os.read(self.reading, 65536)
        return got

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.reading)
        self.writer.close()
        os.close(self._writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    one = Pipe(waiting_max_bytes=20_000)
    yield one
    one.close()


def test_lines_come_in_their_order(pipe: Pipe) -> None:
    for number in range(20):
        pipe.log(f"line {number}.")
    got = pipe.read_until(b"line 19.")
    assert re.findall(rb"line (\d+)\.", got) == [b"%d" % number for number in range(20)]


def test_a_full_pipe_holds_up_nobody_and_drops_are_counted_and_said_afterwards(pipe: Pipe) -> None:
    counted: list[int] = []
    pipe.writer.on_drop = counted.append
    began = time.monotonic()
    for number in range(2000):
        pipe.log(f"line {number} {'x' * 100}")
    assert time.monotonic() - began < 5
    assert pipe.writer.dropped > 1000
    assert sum(counted) == pipe.writer.dropped

    got = pipe.read_until(b"log lines were dropped")
    got += pipe.read_until(b"\n") if not got.endswith(b"\n") else b""
    found = DROPPED.search(got)
    assert found is not None
    assert int(found[1]) == pipe.writer.dropped
    assert got.count(b"line ") == 2000 - pipe.writer.dropped
    # After that the log is as it was before.
    pipe.log("and on it goes")
    assert b"dropped" not in pipe.read_until(b"and on it goes")


def test_a_full_disk_drops_lines_and_the_next_ones_are_written() -> None:
    """Writes to /dev/full fail as on a full disk."""
    full = os.open("/dev/full", os.O_WRONLY)
    reading, writing = os.pipe()
    writer = LogWriter(full)
    writer.setFormatter(LogLines())
    try:
        writer.handle(logging.LogRecord("x", logging.INFO, "x.py", 1, "lost", (), None))
        writer.flush()
        assert writer.dropped == 1
        os.dup2(writing, full)
        assert DROPPED.search(os.read(reading, 65536))
    finally:
        writer.close()
        for each in (full, reading, writing):
            os.close(each)


def test_a_reader_that_is_gone_ends_neither_the_thread_nor_its_callers(pipe: Pipe) -> None:
    os.close(pipe.reading)
    pipe.log("to nobody")
    pipe.writer.flush()
    pipe.log("to nobody either")
    pipe.writer.flush()
    assert pipe.writer.dropped == 2


def test_a_pipe_that_does_not_block_is_waited_for(pipe: Pipe) -> None:
    os.set_blocking(pipe._writing, False)
    for number in range(100):
        pipe.log(f"line {number}. {'x' * 100}")
    assert pipe.read_until(b"line 99.").count(b"line ") == 100
    assert pipe.writer.dropped == 0


def test_the_end_of_the_process_waits_a_second_at_most_for_a_reader(pipe: Pipe) -> None:
    for _ in range(100):
        pipe.log("x" * 100)
    began = time.monotonic()
    logging.shutdown([lambda: pipe.writer])  # type: ignore[list-item]
    assert time.monotonic() - began < 20


def test_a_wrong_log_call_does_not_fail_its_caller(pipe: Pipe) -> None:
    pipe.writer.handle(logging.LogRecord("x", logging.INFO, "x.py", 1, "%d", ("text",), None))
    assert b"a log line of x could not be made: '%d'" in pipe.read_until(b"\n")


def test_the_same_warning_is_left_out_after_some_and_counted_at_the_end(pipe: Pipe) -> None:
    for number in range(LINES_A_MINUTE + 30):
        pipe.log(f"failure {number}", logging.WARNING)
    threading.Thread(target=pipe.writer.close).start()
    got = pipe.read_until(b"such lines")
    assert got.count(b"failure") == LINES_A_MINUTE + 1
    assert b"failure 39 (and 29 more such lines that are left out" in got
