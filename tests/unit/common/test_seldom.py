"""Seldom, Ration: a fault that happens often is logged again and again, but less often."""

from __future__ import annotations

import pytest

from server.common.seldom import NAMES_MAX, PAUSE_S, QUIET_S, Ration, Seldom, Spell
from tests.support.clock import ManualClock


def test_each_name_may_be_logged_once_in_a_pause():
    clock = ManualClock()
    seldom = Seldom(clock.monotonic)
    assert [seldom.may_log(name) for name in ("a", "b", "a", "b")] == [True, True, False, False]
    clock.advance(PAUSE_S / 2)
    assert (seldom.may_log("a"), seldom.may_log("c")) == (False, True)
    clock.advance(PAUSE_S / 2)
    assert (seldom.may_log("a"), seldom.may_log("c")) == (True, False)


def test_made_up_names_exhaust_neither_the_log_nor_the_memory():
    clock = ManualClock()
    seldom = Seldom(clock.monotonic)
    said = [seldom.may_log(str(number)) for number in range(10_000)]
    assert sum(said) == len(seldom._logged_at) == NAMES_MAX
    clock.advance(PAUSE_S)
    assert seldom.may_log("another")


HOME, OFFICE = "203.0.113.1", "198.51.100.2"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def ration(clock):
    return Ration(10, 10.0, clock.monotonic)


def test_a_name_uses_the_ration_at_most_once_in_a_pause(ration, clock):
    assert [ration.may_log("a", HOME) for _ in range(3)] == [True, False, False]
    clock.advance(PAUSE_S - 0.001)
    assert not ration.may_log("a", OFFICE)
    clock.advance(0.001)
    assert ration.may_log("a", HOME)
    assert ration.rest() == 0


def test_one_address_gets_at_most_half_of_the_ration(ration, clock):
    assert [ration.may_log(f"home {number}", HOME) for number in range(6)] == [True] * 5 + [False]
    assert [ration.may_log(number, f"192.0.2.{number}") for number in range(6)] == (
        [True] * 5 + [False]
    )
    clock.advance(10)
    assert ration.may_log("home 5", HOME)


def test_the_addresses_of_one_internet_subscriber_share_their_half_of_the_ration(ration):
    said = [ration.may_log(number, f"2001:db8::{number:x}") for number in range(10)]
    assert said.count(True) == 5


def test_names_that_exceed_the_ration_are_counted_when_its_period_ends(ration, clock):
    for number in range(25):
        ration.may_log(number, HOME)
    assert ration.rest() == 0
    clock.advance(10)
    assert [ration.rest(), ration.rest()] == [20, 0]


def test_a_ration_remembers_only_the_names_that_it_allowed(ration, clock):
    for number in range(20_000):
        ration.may_log(f"made up {number}", f"203.0.{number % 256}.{number // 256}")
        clock.advance(0.01)
    assert len(ration._logged_at) <= 10 * (PAUSE_S / 10 + 1)
    assert len(ration._taken) <= 10


def test_a_spell_of_failures_is_logged_at_its_begin_and_after_its_end():
    clock = ManualClock()
    spell = Spell(clock.monotonic)
    assert spell.over() is None
    assert [spell.goes_on(), spell.goes_on()] == [True, False]
    assert spell.over() is None  # a success between failures
    clock.advance(4)
    assert not spell.goes_on()
    clock.advance(QUIET_S)
    assert spell.over() == (3, 4.0)
    assert spell.over() is None
    assert spell.goes_on()
