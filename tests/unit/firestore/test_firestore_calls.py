"""Which of Google's errors are tried again, and what each one becomes."""

from __future__ import annotations

import asyncio
import time

import pytest
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors

from server.clock import SystemClock
from server.metrics import Metrics
from server.services.firestore.base import MissingIndex, StoreUnavailable
from server.services.firestore.batches import Refused
from server.services.firestore.firestore_calls import BREAKER_OPEN_S, Calls
from tests.support.clock import ManualClock


class Answers:
    """Raises each of the errors in turn, then answers."""

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
async def test_what_may_pass_is_tried_again_with_a_time_out_each(
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
async def test_a_refused_write_tells_whether_an_earlier_attempt_may_have_counted(
    refusal: Exception, earlier: list[Exception], unsure: bool
) -> None:
    with pytest.raises(Refused) as refused:
        await calls().run("write", Answers(*earlier, refusal).send, soon())
    assert refused.value.unsure is unsure


async def test_a_query_without_its_index_is_told_with_googles_link() -> None:
    link = "The query requires an index. You can create it here: https://console/x"
    answers = Answers(google_errors.FailedPrecondition(link))
    with pytest.raises(MissingIndex, match="https://console/x"):
        await calls().run("read", answers.send, soon())


async def test_what_is_malformed_is_a_wrong_value_and_not_tried_again() -> None:
    answers = Answers(google_errors.InvalidArgument("too deep"))
    with pytest.raises(ValueError, match="too deep"):
        await calls().run("write", answers.send, soon())
    assert len(answers.timeouts) == 1


async def test_credentials_that_fail_are_an_unavailable_store() -> None:
    with pytest.raises(StoreUnavailable, match="credentials"):
        await calls().run("read", Answers(auth_errors.RefreshError("expired")).send, soon())


async def test_attempts_end_with_the_deadline() -> None:
    answers = Answers(*[google_errors.ServiceUnavailable("down")] * 1000)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="down"):
        await calls().run("read", answers.send, soon(0.3))
    assert time.monotonic() - began < 0.5
    assert 2 < len(answers.timeouts) < 20


async def test_a_call_that_ignores_its_time_out_ends_with_the_deadline() -> None:
    async def stuck(timeout_s: float) -> None:
        await asyncio.Event().wait()

    with pytest.raises(StoreUnavailable):
        await calls().run("read", stuck, soon(0.1))


async def test_a_store_that_does_not_answer_is_left_alone_for_a_while_then_tried_once() -> None:
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


async def test_an_answer_that_is_an_error_shows_that_the_store_is_there() -> None:
    one = calls()
    for _ in range(20):
        with pytest.raises(Refused):
            await one.run("write", Answers(google_errors.AlreadyExists("x")).send, soon())
    assert await one.run("write", Answers().send, soon()) == "answer"


async def test_a_caller_that_is_cancelled_stays_cancelled() -> None:
    async def stuck(timeout_s: float) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(calls().run("read", stuck, soon()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
