"""Starts `bas_server.py` by a fork of a process that has imported it: most of a start is imports.

A run of all tests starts the server and its commands more than a thousand times, and an import
takes half a second of a core. `python -m tools.warm_start FD` is that process: each message on the
socket FD names a program, and the child that runs it has its own arguments, environment, folder
and first three files, as after an exec.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1]
PROGRAM = str(FOLDER / "bas_server.py")
MESSAGE_MAX = 1 << 20
STATUS = struct.Struct("i")
# What Python or the loader reads before the first line of the program runs.
READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "FAKETIME", "PROMETHEUS_")


class WarmProcess:
    """A started program, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, status: int) -> None:
        """`status` is the end of a pipe on which its exit code will arrive."""
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._ended_within(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. Raises subprocess.TimeoutExpired."""
        code = self._ended_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(PROGRAM, timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended_within(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], seconds)[0]:
            (self.returncode,) = STATUS.unpack(os.read(self._status, STATUS.size))
            os.close(self._status)
        return self.returncode


class WarmStart:
    """The process that has imported the server; it ends with this one."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            words = [sys.executable, "-m", "tools.warm_start", str(number)]
            self._process = subprocess.Popen(words, cwd=FOLDER, pass_fds=[number])

    def start(
        self,
        arguments: Sequence[str],
        environment: dict[str, str],
        folder: str | Path | None,
        files: Sequence[int],
    ) -> WarmProcess:
        """Run `bas_server.py ARGUMENTS` with these as its standard input, output and errors."""
        asked = {"arguments": arguments, "environment": environment}
        asked["folder"] = str(folder or Path.cwd())
        mine, status = os.pipe()
        try:
            socket.send_fds(self._socket, [json.dumps(asked).encode()], [*files, status])
        finally:
            os.close(status)
        return WarmProcess(int(self._socket.recv(MESSAGE_MAX)), mine)

    def close(self) -> None:
        """End it; what it started goes on."""
        self._socket.close()
        self._process.wait()


_warm: list[WarmStart] = []


def starts_warm(environment: dict[str, str]) -> bool:
    """Whether a program with this environment can be started so, in this run of tests."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return False
    names = {name for name in os.environ | environment if name.startswith(READ_AT_START)}
    return all(environment.get(name) == os.environ.get(name) for name in names)


def warm_start() -> WarmStart:
    """The one of this process."""
    if not _warm:
        _warm.append(WarmStart())
        atexit.register(_warm[0].close)
    return _warm[0]


def _serve(asked: socket.socket) -> dict[str, Any] | None:
    """Fork for each message until the socket closes; in a child, what it is to run."""
    woken, wake = socket.socketpair()
    for one in (woken, wake):
        one.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    statuses: dict[int, int] = {}
    with selectors.DefaultSelector() as selector, asked, woken, wake:
        selector.register(asked, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if woken in ready:
                with contextlib.suppress(BlockingIOError):
                    woken.recv(4096)
                _report_ended(statuses)
            if asked not in ready:
                continue
            message, files, _, _ = socket.recv_fds(asked, MESSAGE_MAX, 4)
            if not message:
                return None
            if pid := os.fork():
                statuses[pid] = files.pop()
                asked.send(str(pid).encode())
                for number in files:
                    os.close(number)
            else:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for number in (*statuses.values(), files.pop()):
                    os.close(number)
                return {**json.loads(message), "files": files}


def _report_ended(statuses: dict[int, int]) -> None:
    while statuses:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(statuses[pid], STATUS.pack(os.waitstatus_to_exitcode(status)))
        os.close(statuses.pop(pid))


def _become(asked: dict[str, Any]) -> None:
    """Take over the files, the folder, the environment and the arguments of the program."""
    for number, file in enumerate(asked["files"]):
        os.dup2(file, number)
        os.close(file)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        errors = "backslashreplace" if name == "stderr" else None
        # As Python opens them: errors are shown line by line.
        buffering = 1 if name == "stderr" else -1
        file = os.fdopen(number, mode, buffering, errors=errors, closefd=False)
        setattr(sys, name, file)
        setattr(sys, f"__{name}__", file)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    sys.argv = [PROGRAM, *asked["arguments"]]
    sys.path[0] = str(FOLDER)


def _warm_up() -> None:
    """Import the server and its commands, and share that memory with the children.

    The garbage collector writes to each object that it looks at, so that the system copies the
    page: of most commands that took half of the time, at the end above all.
    """
    importlib.import_module("bas_server")
    importlib.import_module("server.commands.main").options(["list-users"])
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _warm_up()
    if started := _serve(socket.socket(fileno=int(sys.argv[1]))):
        _become(started)
        runpy.run_path(PROGRAM, run_name="__main__")
