"""A service of a test's own: started on a free port, paused, killed and started again there."""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

LOOK_S = 0.01

D = TypeVar("D", bound="Daemon")


def free_port() -> int:
    """A port without a listener, outside the range that the kernel takes for connections."""
    while True:
        port = random.SystemRandom().randrange(10_000, _first_given())
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def _first_given() -> int:
    """The first of the ports that connections get."""
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


class Daemon(ABC):
    """One process on 127.0.0.1 and its folder, both gone with the test."""

    start_s = 60.0

    def __init__(self, name: str) -> None:
        self.port = free_port()
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.mkdtemp(prefix=f"bas-{name}-")

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """What starts it."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether it answers now."""

    def start(self: D) -> D:
        """Start, and return once it answers."""
        self._process = subprocess.Popen(
            self._command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + self.start_s
        while not self._answers():
            assert time.monotonic() < deadline, f"{self._name} does not answer"
            assert self._process.poll() is None, f"{self._name} ended at once"
            time.sleep(LOOK_S)
        return self

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: all it held in memory is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self: D) -> D:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
