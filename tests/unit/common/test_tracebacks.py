"""log_failure: a failure that lasts writes one traceback a minute, not one for each request."""

from __future__ import annotations

import logging

import pytest

from server.common import tracebacks
from server.common.seldom import PAUSE_S, Seldom
from server.common.tracebacks import log_failure
from tests.support.clock import ManualClock

log = logging.getLogger(__name__)


def fail(number: int) -> None:
    try:
        raise RuntimeError(f"failure {number}")
    except RuntimeError as error:
        log_failure(log, error, "GET %s failed", f"/{number}")


def test_a_failure_is_logged_with_its_traceback_once_a_minute_and_the_rest_is_counted(
    caplog: pytest.LogCaptureFixture, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracebacks, "_seldom", Seldom(clock.monotonic))
    for number in range(5):
        fail(number)
    assert caplog.messages == ["GET /0 failed"]
    assert "RuntimeError: failure 0" in caplog.text
    clock.advance(PAUSE_S)
    fail(5)
    assert caplog.messages[1] == (
        "GET /5 failed (and 4 times before in the same way, without a line each)"
    )


def test_another_failure_has_its_own_line(caplog: pytest.LogCaptureFixture) -> None:
    fail(0)
    try:
        raise RuntimeError("elsewhere")
    except RuntimeError as error:
        log_failure(log, error, "another one")
    assert caplog.messages == ["GET /0 failed", "another one"]
