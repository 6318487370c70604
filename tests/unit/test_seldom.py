"""Seldom, Ration: a fault is said again and again, but not as often as it happens."""

from __future__ import annotations

import pytest

from server.seldom import NAMES_MAX, PAUSE_S, Ration, Seldom
from tests.support.clock import ManualClock


def test_each_name_may_be_said_once_in_a_pause():
    clock = ManualClock()
    seldom = Seldom(clock.monotonic)
    assert [seldom.may_say(name) for name in ("a", "b", "a", "b")] == [True, True, False, False]
    clock.advance(PAUSE_S / 2)
    assert (seldom.may_say("a"), seldom.may_say("c")) == (False, True)
    clock.advance(PAUSE_S / 2)
    assert (seldom.may_say("a"), seldom.may_say("c")) == (True, False)


def test_names_that_strangers_make_up_are_neither_all_said_nor_all_remembered():
    clock = ManualClock()
    seldom = Seldom(clock.monotonic)
    said = [seldom.may_say(str(number)) for number in range(10_000)]
    assert sum(said) == len(seldom._said) == NAMES_MAX
    clock.advance(PAUSE_S)
    assert seldom.may_say("another")


HOME, OFFICE = "203.0.113.1", "198.51.100.2"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def ration(clock):
    return Ration(10, 10.0, clock.monotonic)


def test_of_a_ration_a_name_takes_a_part_once_in_a_pause(ration, clock):
    assert [ration.may_say("a", HOME) for _ in range(3)] == [True, False, False]
    clock.advance(PAUSE_S - 0.001)
    assert not ration.may_say("a", OFFICE)
    clock.advance(0.001)
    assert ration.may_say("a", HOME)
    assert ration.rest() == 0


def test_one_address_has_at_most_half_a_ration_and_others_have_the_rest(ration, clock):
    assert [ration.may_say(f"home {number}", HOME) for number in range(6)] == [True] * 5 + [False]
    assert [ration.may_say(number, f"192.0.2.{number}") for number in range(6)] == (
        [True] * 5 + [False]
    )
    clock.advance(10)
    assert ration.may_say("home 5", HOME)


def test_addresses_of_one_subscriber_are_one(ration):
    said = [ration.may_say(number, f"2001:db8::{number:x}") for number in range(10)]
    assert said.count(True) == 5


def test_what_found_no_room_is_counted_once_its_time_is_over(ration, clock):
    for number in range(25):
        ration.may_say(number, HOME)
    assert ration.rest() == 0
    clock.advance(10)
    assert [ration.rest(), ration.rest()] == [20, 0]


def test_a_ration_remembers_no_more_than_it_said(ration, clock):
    for number in range(20_000):
        ration.may_say(f"made up {number}", f"203.0.{number % 256}.{number // 256}")
        clock.advance(0.01)
    assert len(ration._said) <= 10 * (PAUSE_S / 10 + 1)
    assert len(ration._taken) <= 10
