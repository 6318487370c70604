"""Seldom: a fault is said again and again, but not as often as it happens."""

from __future__ import annotations

from server.seldom import NAMES_MAX, PAUSE_S, Seldom
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
