"""Which of Google's errors are retried, and which error of this server each one becomes."""

from __future__ import annotations

import asyncio
import time

import pytest
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.firestore.google.batch import WriteRefused
from server.services.firestore.google.calls import BREAKER_OPEN_S, Calls
from server.services.ports.documents import MissingIndex, StoreUnavailable
from tests.support.clock import ManualClock


class Answers:
    """Raises the errors one after another, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.timeouts: list[float] = []

    async def send(self, timeout_s: float) -> str:
        self.timeouts.append(timeout_s)
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def calls() -> Calls:
    return Calls("Firestore", SystemClock(), Metrics(), max_waiting=10)


def soon(seconds: float = 2.5) -> float:
    return time.monotonic() + seconds


@pytest.mark.parametrize(
    "kind",
    [
        google_errors.ServiceUnavailable,
        google_errors.DeadlineExceeded,
        google_errors.InternalServerError,
        google_errors.Unknown,
        google_errors.Cancelled,
        google_errors.Aborted,
        google_errors.ResourceExhausted,
    ],
)
async def test_a_temporary_error_is_retried_with_a_timeout_for_each_attempt(
    kind: type[google_errors.GoogleAPICallError],
) -> None:
    answers = Answers(kind("x"), kind("x"))
    assert await calls().run("read", answers.send, soon()) == "answer"
    assert len(answers.timeouts) == 3
    assert all(0 < timeout_s <= 1.1 for timeout_s in answers.timeouts)


@pytest.mark.parametrize(
    ("earlier", "unsure"),
    [
        ([], False),
        ([google_errors.Aborted("busy")], False),
        ([google_errors.ServiceUnavailable("cut")], True),
        ([google_errors.DeadlineExceeded("slow"), google_errors.Aborted("busy")], True),
    ],
)
@pytest.mark.parametrize(
    "refusal",
    [
        google_errors.AlreadyExists("x"),
        google_errors.NotFound("x"),
        google_errors.FailedPrecondition("x"),
    ],
)
async def test_a_refused_write_says_whether_an_earlier_attempt_may_have_taken_effect(
    refusal: Exception, earlier: list[Exception], unsure: bool
) -> None:
    with pytest.raises(WriteRefused) as refused:
        await calls().run("write", Answers(*earlier, refusal).send, soon())
    assert refused.value.unsure is unsure


async def test_the_error_of_a_query_without_its_index_has_google_s_link() -> None:
    link = "The query requires an index. You can create it here: https://console/x"
    answers = Answers(google_errors.FailedPrecondition(link))
    with pytest.raises(MissingIndex, match="https://console/x"):
        await calls().run("read", answers.send, soon())


async def test_a_malformed_call_raises_a_value_error_and_is_not_retried() -> None:
    answers = Answers(google_errors.InvalidArgument("too deep"))
    with pytest.raises(ValueError, match="too deep"):
        await calls().run("write", answers.send, soon())
    assert len(answers.timeouts) == 1


async def test_invalid_credentials_make_the_store_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match="credentials"):
        await calls().run("read", Answers(auth_errors.RefreshError("expired")).send, soon())


async def test_retries_end_at_the_deadline() -> None:
    answers = Answers(*[google_errors.ServiceUnavailable("down")] * 1000)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="down"):
        await calls().run("read", answers.send, soon(0.3))
    assert time.monotonic() - began < 3
    assert 2 < len(answers.timeouts) < 20


async def test_a_call_that_ignores_its_timeout_ends_at_the_deadline() -> None:
    async def stuck(timeout_s: float) -> None:
        await asyncio.Event().wait()

    with pytest.raises(StoreUnavailable):
        await calls().run("read", stuck, soon(0.1))


async def test_a_store_that_does_not_answer_is_not_called_for_a_while_and_then_tried_once() -> None:
    clock = ManualClock()
    one = Calls("Firestore", clock, Metrics(), max_waiting=10)
    down = Answers(*[google_errors.ServiceUnavailable("down")] * 5)
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await one.run("read", down.send, clock.monotonic() + 0.01)
    answers = Answers()
    with pytest.raises(StoreUnavailable, match="lately"):
        await one.run("read", answers.send, clock.monotonic() + 1)
    assert answers.timeouts == []
    clock.advance(BREAKER_OPEN_S)
    assert await one.run("read", answers.send, clock.monotonic() + 1) == "answer"
    assert await one.run("read", answers.send, clock.monotonic() + 1) == "answer"


@pytest.mark.parametrize(
    "error",
    [
        google_errors.PermissionDenied("no access"),
        google_errors.Unauthenticated("no access"),
    ],
)
async def test_a_wrong_set_up_opens_the_circuit_breaker_and_writes_one_line(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    one = Calls("Firestore", clock, Metrics(), max_waiting=10)
    answers = Answers(*[error] * 5)
    for _ in range(50):
        with pytest.raises(StoreUnavailable):
            await one.run("read", answers.send, clock.monotonic() + 1)
    assert len(answers.timeouts) == 5
    (line,) = caplog.messages
    assert "no access" in line
    assert "circuit breaker is open" in line
    clock.advance(BREAKER_OPEN_S)
    assert await one.run("read", answers.send, clock.monotonic() + 1) == "answer"
    assert caplog.messages[1:] == ["Firestore answers again, the circuit breaker is closed"]


async def test_an_error_answer_does_not_open_the_circuit_breaker() -> None:
    one = calls()
    for _ in range(20):
        with pytest.raises(WriteRefused):
            await one.run("write", Answers(google_errors.AlreadyExists("x")).send, soon())
    assert await one.run("write", Answers().send, soon()) == "answer"


async def test_a_cancelled_caller_stays_cancelled() -> None:
    async def stuck(timeout_s: float) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(calls().run("read", stuck, soon()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
