"""The supervisor with children of a few lines each, which fail, hang or exit."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from prometheus_client import Gauge

from server.common.metrics import Metrics
from server.config.config import METRICS_FOLDER, child_environment
from server.processes import child, supervisor
from server.processes.child import ChildCommand
from server.processes.supervisor import Backoff, Supervisor
from tests.support.stream import eventually

READY = """
channel = socket.socket(fileno=int(sys.argv[3]))
channel.send(b"\\n")
time.sleep(60)
"""
USES = "import signal, socket, sys, time\n"
DRAINS = USES + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))" + READY
FAILS_TO_DRAIN = USES + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))" + READY
IGNORES_SIGTERM = USES + "signal.signal(signal.SIGTERM, signal.SIG_IGN)" + READY
HANGS = """
import pathlib, time
pathlib.Path(__file__).with_name("started").touch()
time.sleep(60)
"""
STARTS_IF_ALLOWED = (
    "import pathlib; pathlib.Path(__file__).with_name('allowed').exists() or exit(1)\n" + DRAINS
)


class Run:
    """A supervisor of two children that run this script, and what it reported."""

    def __init__(self, tmp_path, script):
        (tmp_path / "child.py").write_text(script)
        self.ended = []
        words = (sys.executable, str(tmp_path / "child.py"))
        command = ChildCommand(words, child_environment(str(tmp_path), tmp_path), self.ended.append)
        self.stop, self.roll, self.served = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.said_end = False
        self._supervisor = Supervisor("127.0.0.1", 0, 2, command)
        self.port = 0

    @property
    def pids(self):
        return {each.pid for each in self._supervisor._children}

    async def _ready(self, port):
        self.port = port
        self.served.set()

    async def _end(self):
        self.said_end = True

    async def code(self):
        async with asyncio.timeout(60):
            return await self._supervisor.run(self.stop, self.roll, self._ready, self._end)

    async def code_after_stop(self):
        running = asyncio.create_task(self.code())
        await self.served.wait()
        self.stop.set()
        return await running


def test_a_child_is_replaced_at_once_at_first_and_after_a_growing_delay_later():
    backoff = Backoff(jitter=lambda: 0.0)
    delays = [backoff.delay_s(lived_s=1.0) for _ in range(9)]
    assert delays == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [backoff.delay_s(lived_s=0.0) for _ in range(2000)][-1] == 30


def test_a_child_that_ran_long_is_replaced_at_once_again():
    backoff = Backoff(jitter=lambda: 0.0)
    for _ in range(5):
        backoff.delay_s(lived_s=29.9)
    assert [backoff.delay_s(lived_s) for lived_s in (30.0, 1.0)] == [0, 0.5]


def test_up_to_half_of_a_delay_is_random():
    backoff = Backoff(jitter=lambda: 1.0)
    assert [backoff.delay_s(0.0) for _ in range(4)] == [0, 0.25, 0.5, 1]


async def test_the_exit_code_is_0_if_every_child_drained(tmp_path):
    run = Run(tmp_path, DRAINS)
    assert await run.code_after_stop() == 0
    assert len(run.ended) == 2
    assert run.said_end
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", run.port))


@pytest.mark.parametrize(
    ("script", "stop_s", "fate"),
    [(IGNORES_SIGTERM, 0.5, "SIGKILL"), (FAILS_TO_DRAIN, 8.0, "exit code 3")],
)
async def test_a_child_that_did_not_drain_is_logged_and_makes_the_exit_code_1(
    tmp_path, monkeypatch, caplog, script, stop_s, fate
):
    monkeypatch.setattr(child, "STOP_S", stop_s)
    run = Run(tmp_path, script)
    assert await run.code_after_stop() == 1
    for pid in run.ended:
        assert f"server process {pid} did not shut down in time: {fate}" in caplog.text


@pytest.mark.parametrize(
    ("script", "code"), [("raise SystemExit(7)", 7), ("", 1), ("import os; os.abort()", 1)]
)
async def test_if_no_child_was_ever_ready_the_first_one_s_exit_code_is_the_supervisor_s(
    tmp_path, script, code
):
    run = Run(tmp_path, script)
    assert await run.code() == code
    assert len(run.ended) == 1
    assert not run.served.is_set()


async def test_the_wait_for_a_child_that_hangs_at_its_start_is_bounded(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(child, "READY_S", 0.5)
    run = Run(tmp_path, HANGS)
    async with asyncio.timeout(child.STOP_S / 2):
        assert await run.code() == 1
    assert f"server process {run.ended[0]} did not become ready within 0.5 s" in caplog.text


async def test_a_stop_during_the_start_is_no_failure(tmp_path):
    run = Run(tmp_path, HANGS)
    running = asyncio.create_task(run.code())
    await eventually((tmp_path / "started").exists, "the child runs")
    run.stop.set()
    assert await running == 0


async def test_a_rolling_restart_also_starts_a_child_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "FIRST_DELAY_S", 60.0)
    monkeypatch.setattr(supervisor, "LONGEST_DELAY_S", 60.0)
    allowed = tmp_path / "allowed"
    allowed.touch()
    run = Run(tmp_path, STARTS_IF_ALLOWED)
    running = asyncio.create_task(run.code())
    await run.served.wait()
    before = run.pids
    allowed.unlink()
    os.kill(min(before), signal.SIGKILL)
    await eventually(lambda: len(run.ended) == 2, "the dead one's replacement failed")
    allowed.touch()
    run.roll.set()
    await eventually(lambda: len(run.pids - before) == 2, "both places have a new child")
    run.stop.set()
    assert await running == 0


def test_every_gauge_defines_how_the_values_of_several_processes_are_combined():
    gauges = [each for each in vars(Metrics()).values() if isinstance(each, Gauge)]
    assert gauges
    for gauge in gauges:
        assert gauge._multiprocess_mode != "all", gauge


def test_a_child_has_the_settings_of_its_supervisor(monkeypatch):
    monkeypatch.setenv("BAS_PORT", "1")
    environment = child_environment("/somewhere", Path("/data/demo"))
    assert (environment["BAS_PORT"], environment[METRICS_FOLDER]) == ("1", "/somewhere")
    assert environment["BAS_DATA_DIR"] == "/data/demo"
