"""A measured value is parsed without an error, and never to a value that no sensor measures."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from server.services.history.measured import (
    SAFE_INTEGER,
    TEMP_MAX,
    TEMP_MIN,
    flag,
    measured,
    tenths,
    whole,
)
from tests.support.measured import CASES, Case

# Python's `json` accepts NaN and integers of any size.
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
json_values = st.recursive(
    scalars | st.integers(min_value=10**300, max_value=10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
# Fractions just below, at and above a half.
halves = st.integers(-10_000, 10_000).map(lambda number: number + 0.5)
fractions = halves | st.floats(-2000, 2000)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_temperature_and_sensor_ok_are_parsed_as_the_table_says(case: Case) -> None:
    found = measured(case.temp, case.sensor_ok)
    assert found == case.read
    assert type(found.temp_tenths) is type(case.read.temp_tenths)


@given(json_values, json_values)
def test_any_value_is_parsed_to_a_temperature_inside_the_range_or_to_none(temp, ok):
    found = measured(temp, ok)
    assert found.temp_tenths is None or type(found.temp_tenths) is int
    assert found.temp_tenths is None or TEMP_MIN <= found.temp_tenths <= TEMP_MAX
    assert type(found.sensor_ok) is bool
    if found.sensor_ok:
        assert found.temp_tenths is not None
    if found.fault_reason:
        assert flag(ok)
        assert (found.temp_tenths, found.sensor_ok) == (None, False)
    assert found.sensor_ok or found.fault_reason or not flag(ok)


@given(json_values, json_values)
def test_parsing_a_parsed_value_again_changes_nothing(temp, ok):
    once = measured(temp, ok)
    again = measured(once.temp_tenths, once.sensor_ok)
    assert again[:2] == once[:2]


@given(json_values)
def test_a_whole_number_is_a_safe_integer_or_none(value):
    found = whole(value)
    assert found is None or (type(found) is int and abs(found) <= SAFE_INTEGER)


@given(fractions | numbers)
@example(0.49999999999999994)
@example(-0.5)
@example(2.0**53 + 2)
def test_a_fraction_is_rounded_half_away_from_zero(value):
    assert tenths(value) == int(Decimal(value).to_integral_value(ROUND_HALF_UP))


@given(fractions)
def test_the_fraction_of_a_time_is_cut_off(value):
    assert whole(value) == int(Decimal(value).to_integral_value(ROUND_DOWN))


@given(st.integers(TEMP_MIN, TEMP_MAX), st.booleans())
def test_a_value_that_this_server_stores_is_parsed_unchanged(temp, ok):
    assert measured(temp, ok) == (temp, ok, "")


@given(json_values, json_values)
def test_a_parsed_value_can_be_stored_as_json(temp, ok):
    found = measured(temp, ok)
    assert msgspec.json.decode(msgspec.json.encode(found)) == list(found)
