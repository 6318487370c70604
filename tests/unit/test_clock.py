"""SystemClock: what the processes of one machine agree on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from server import clock as module
from server.clock import BOOT_ID, SystemClock

ROOT = Path(__file__).parents[2]
TELL = "from server.clock import SystemClock; c = SystemClock(); print(c.boot, c.uptime_ms())"


@pytest.mark.skipif(not BOOT_ID.exists(), reason="this system does not name its boots")
def test_two_processes_of_one_boot_count_on_one_time_line():
    clock = SystemClock()
    before_ms = clock.uptime_ms()
    told = subprocess.run(
        [sys.executable, "-c", TELL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    boot, uptime_ms = told.stdout.split()
    assert boot == clock.boot
    assert before_ms <= float(uptime_ms) <= clock.uptime_ms()


def test_a_process_of_a_system_that_names_no_boot_has_a_time_line_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "BOOT_ID", tmp_path / "nothing")
    assert SystemClock().boot != SystemClock().boot
