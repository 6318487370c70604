"""Server processes on their core: what they and their children use, as the kernel counts it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from scripts.bench.host import LOAD_CORE, SERVER_CORE, cpu_s, on_core, pin
from tools.process import REPOSITORY, clean_environment

START_S, STOP_S, LOOK_S = 20.0, 10.0, 0.02
_PSS = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)


class Watched:
    """One or more processes with all that they started."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._roots = list(pids)

    def pids(self) -> list[int]:
        """All processes that live now."""
        found, todo = [], list(self._roots)
        while todo:
            pid = todo.pop()
            try:
                tasks = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
            except FileNotFoundError:
                continue
            found.append(pid)
            todo += [int(child) for text in tasks for child in text.split()]
        return found

    def cpu_s(self) -> float:
        """Processor time used so far, user and system."""
        return sum(cpu_s(pid) for pid in self.pids())

    def memory_kb(self) -> int:
        """Proportional set size: what processes share counts once."""
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.pids()]
        return sum(int(found[1]) for text in texts if (found := _PSS.search(text)))

    def files(self) -> int:
        """Open files and sockets."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())

    def threads(self) -> int:
        """Threads that live now."""
        return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in self.pids())


@contextmanager
def started(command: Sequence[str], port: int, **environment: str) -> Iterator[int]:
    """The process of `command` on the server's core, once it listens on `port`; its id.

    Raises RuntimeError with what it printed if it does not.
    """
    with tempfile.TemporaryFile("w+") as output, on_core(SERVER_CORE):
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=clean_environment(**environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        pin(LOAD_CORE)
        try:
            deadline = time.monotonic() + START_S
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise RuntimeError(f"{' '.join(command)} does not listen: {output.read()}")
                time.sleep(LOOK_S)
            yield process.pid
        finally:
            _end(process)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and what it started: all of one session of its own."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait(STOP_S)
