"""RepeatedLines: the same line of code does not fill the log."""

from __future__ import annotations

import logging

from server.common.repeated_lines import LINES_A_MINUTE, MINUTE_S, RepeatedLines
from tests.support.clock import ManualClock


def record(number: int, level: int = logging.WARNING, line: int = 1) -> logging.LogRecord:
    return logging.LogRecord("server.x", level, "x.py", line, "failure %d", (number,), None)


def test_a_line_of_code_gets_some_lines_a_minute_and_another_one_its_own(
    clock: ManualClock,
) -> None:
    repeated = RepeatedLines(clock.monotonic)
    passed = [repeated.may_log(record(number)) for number in range(LINES_A_MINUTE + 5)]
    assert passed == [True] * LINES_A_MINUTE + [False] * 5
    assert repeated.may_log(record(0, line=2))
    assert all(repeated.may_log(record(n, logging.INFO)) for n in range(LINES_A_MINUTE + 5))


def test_what_was_left_out_is_summed_up_when_the_minute_is_over(clock: ManualClock) -> None:
    repeated = RepeatedLines(clock.monotonic)
    for number in range(LINES_A_MINUTE + 5):
        repeated.may_log(record(number))
    assert repeated.summaries() == []
    clock.advance(MINUTE_S)
    (summary,) = repeated.summaries()
    assert summary.getMessage() == (
        f"failure {LINES_A_MINUTE + 4} (and 4 more such lines that are left out, in 60 s)"
    )
    assert summary.levelno == logging.WARNING
    assert not repeated.has_left_out
    assert repeated.summaries() == []
    clock.advance(MINUTE_S)
    assert all(repeated.may_log(record(number)) for number in range(LINES_A_MINUTE))
