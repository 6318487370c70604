"""LinesOfState: a state that changes to and fro does not fill the log; its last line is true."""

from __future__ import annotations

import logging

import pytest

from server.common import lines_of_state
from server.common.lines_of_state import LINES_A_MINUTE, LinesOfState
from tests.support.clock import ManualClock
from tests.support.stream import eventually

log = logging.getLogger(__name__)


async def test_the_newest_line_follows_when_the_minute_is_over(
    caplog: pytest.LogCaptureFixture, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_of_state, "MINUTE_S", 0.05)
    lines = LinesOfState(log, clock)
    for number in range(20):
        lines.write(logging.ERROR, f"state {number}")
    assert caplog.messages == [f"state {number}" for number in range(LINES_A_MINUTE)]
    await eventually(lambda: len(caplog.messages) > LINES_A_MINUTE, "the last line")
    assert caplog.messages[-1] == "state 19 (this changed 15 times more before)"


async def test_the_end_writes_the_line_that_waits(
    caplog: pytest.LogCaptureFixture, clock: ManualClock
) -> None:
    lines = LinesOfState(log, clock)
    for number in range(LINES_A_MINUTE + 1):
        lines.write(logging.ERROR, f"state {number}")
    lines.close()
    lines.close()
    assert caplog.messages[-1] == f"state {LINES_A_MINUTE}"
