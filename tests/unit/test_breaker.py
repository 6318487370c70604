"""When a service that does not answer is asked again."""

from __future__ import annotations

from server.breaker import Breaker
from tests.support.clock import ManualClock


def failing(clock: ManualClock, failures: int, every_s: float = 1.0) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(failures):
        breaker.failed()
        clock.advance(every_s)
    return breaker


def test_four_failures_are_borne_and_the_fifth_opens(clock: ManualClock) -> None:
    breaker = failing(clock, 4)
    assert breaker.allows()
    assert breaker.failed() is True
    assert breaker.is_open
    assert not breaker.allows()


def test_five_failures_in_more_than_thirty_seconds_do_not_open(clock: ManualClock) -> None:
    assert failing(clock, 50, every_s=8).allows()
    assert not failing(clock, 5, every_s=7).allows()


def test_a_success_forgets_the_failures_before_it(clock: ManualClock) -> None:
    breaker = failing(clock, 4)
    breaker.succeeded()
    assert [breaker.failed() for _ in range(4)] == [False] * 4
    assert breaker.allows()


def test_after_fifteen_seconds_one_call_goes_out_and_no_other(clock: ManualClock) -> None:
    breaker = failing(clock, 5, every_s=0)
    clock.advance(14.9)
    assert not breaker.allows()
    assert 0 < breaker.wait_s() <= 0.1
    clock.advance(0.2)
    assert breaker.wait_s() == 0
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_a_trial_that_succeeds_closes_and_one_that_fails_waits_again(clock: ManualClock) -> None:
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


def test_a_sign_of_life_lets_one_call_out_at_once(clock: ManualClock) -> None:
    breaker = failing(clock, 5, every_s=0)
    breaker.try_now()
    assert [breaker.allows() for _ in range(2)] == [True, False]
    closed = Breaker(clock)
    closed.try_now()
    assert not closed.is_open
