"""SystemClock: the processes of one machine share its boot and its uptime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from server.common import clock as module
from server.common.clock import BOOT_ID, SystemClock

ROOT = Path(__file__).parents[3]
PRINT_BOOT_AND_UPTIME = (
    "from server.common.clock import SystemClock; c = SystemClock(); print(c.boot, c.uptime_ms())"
)


@pytest.mark.skipif(not BOOT_ID.exists(), reason="this system does not name its boots")
def test_two_processes_of_one_boot_have_the_same_boot_id_and_uptime():
    clock = SystemClock()
    before_ms = clock.uptime_ms()
    done = subprocess.run(
        [sys.executable, "-c", PRINT_BOOT_AND_UPTIME],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    boot, uptime_ms = done.stdout.split()
    assert boot == clock.boot
    assert before_ms <= float(uptime_ms) <= clock.uptime_ms()


def test_without_a_boot_id_of_the_system_each_clock_gets_a_boot_id_that_no_other_has(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(module, "BOOT_ID", tmp_path / "nothing")
    assert SystemClock().boot != SystemClock().boot
