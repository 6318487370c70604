"""Breaker: when it stops the calls to a service that fails, and when it lets one out again."""

from __future__ import annotations

from server.common.breaker import Breaker
from tests.support.clock import ManualClock


def failing(clock: ManualClock, failures: int, every_s: float = 1.0) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(failures):
        breaker.failed()
        clock.advance(every_s)
    return breaker


def test_the_breaker_stays_closed_at_four_failures_and_opens_at_the_fifth(
    clock: ManualClock,
) -> None:
    breaker = failing(clock, 4)
    assert breaker.allows()
    assert breaker.failed() is True
    assert breaker.is_open
    assert not breaker.allows()


def test_five_failures_in_more_than_thirty_seconds_do_not_open_the_breaker(
    clock: ManualClock,
) -> None:
    assert failing(clock, 50, every_s=8).allows()
    assert not failing(clock, 5, every_s=7).allows()


def test_a_success_resets_the_count_of_failures(clock: ManualClock) -> None:
    breaker = failing(clock, 4)
    breaker.succeeded()
    assert [breaker.failed() for _ in range(4)] == [False] * 4
    assert breaker.allows()


def test_an_open_breaker_lets_a_single_call_out_after_fifteen_seconds(clock: ManualClock) -> None:
    breaker = failing(clock, 5, every_s=0)
    clock.advance(14.9)
    assert not breaker.allows()
    assert 0 < breaker.wait_s() <= 0.1
    clock.advance(0.2)
    assert breaker.wait_s() == 0
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_a_successful_trial_closes_the_breaker_and_a_failed_one_keeps_it_open(
    clock: ManualClock,
) -> None:
    breaker = failing(clock, 5, every_s=0)
    clock.advance(15)
    assert breaker.allows()
    assert breaker.failed() is False
    clock.advance(14.9)
    assert not breaker.allows()
    clock.advance(0.2)
    assert breaker.allows()
    breaker.succeeded()
    assert [breaker.allows() for _ in range(3)] == [True] * 3
    assert not breaker.is_open


def test_try_now_makes_an_open_breaker_let_one_call_out_at_once(clock: ManualClock) -> None:
    breaker = failing(clock, 5, every_s=0)
    breaker.retry_now()
    assert [breaker.allows() for _ in range(2)] == [True, False]
    closed = Breaker(clock)
    closed.retry_now()
    assert not closed.is_open
