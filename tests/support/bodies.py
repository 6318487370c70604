"""Generated bodies of posts, strict JSON or not, and how the server must interpret each."""

from __future__ import annotations

import json
import math
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from hypothesis import strategies as st

TEMP_MIN, TEMP_MAX = -550, 1250


class Number(str):
    """A number kept as text, because a float or a Python integer may not hold its digits."""

    __slots__ = ()


def written(value: Any, small: bool = False) -> str:
    """The value as JSON; NaN and infinity as Python, or if `small` as MicroPython, writes them."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)}: {written(one, small)}" for name, one in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(item, small) for item in value) + "]"
    text = json.dumps(value)
    if small and isinstance(value, float) and not math.isfinite(value):
        return text.replace("NaN", "nan").replace("Infinity", "inf")
    return text


def tenths_of(value: Any) -> int | None:
    """The value as a temperature, rounded half away from zero; None if it is not a number."""
    if isinstance(value, Number):
        return int(Decimal(value).to_integral_value(ROUND_HALF_UP))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(Decimal(value).to_integral_value(ROUND_HALF_UP))


def says_good(body: dict[str, Any]) -> bool:
    """Whether a body reports a good sensor and a temperature in the sensor's range."""
    ok, temp = body.get("sensor_ok"), tenths_of(body.get("temp_tenths"))
    good = ok is True or (type(ok) is int and ok == 1) or (isinstance(ok, Number) and ok == "1")
    return good and temp is not None and TEMP_MIN <= temp <= TEMP_MAX


# Neither a float nor a 64-bit integer holds these.
NUMBERS = [
    Number(text)
    for text in (
        "1e400",
        "-1e400",
        "1e-400",
        "9" * 400,
        "-" + "9" * 400,
        "9" * 5000,
        "1" + "0" * 19,
    )
]
numbers = st.one_of(
    st.sampled_from([0, 1, -1, 2, 235, 1250, 1251, -550, -551, 2**53, 2**63, 2**64, 10**40]),
    st.sampled_from([0.5, -0.5, 215.0, 243.7, 1250.4, 1250.5, -550.5, 1e300, math.nan, math.inf]),
    st.sampled_from([*NUMBERS, -math.inf]),
    st.integers(),
    st.floats(),
)
texts = st.text(max_size=12) | st.sampled_from(
    ["", "NaN", "nan", "-inf", '"', "\\", '\\"nan', "1", "true", "\ud800", "x\udfff", "k" * 300]
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
temps = (
    st.integers(-600, 1300) | st.floats(-600, 1300).map(lambda value: round(value, 1)) | anything
)
oks = st.sampled_from([True, True, 1, False, 0, None]) | anything
# Invalid dates, ages and keys: the server must treat each as missing.
no_date = anything.filter(lambda value: not 1e12 < _size(value) < 1e13)
no_age = anything.filter(lambda value: not 0 <= _size(value) < 2**53)
no_key = anything.filter(lambda value: not isinstance(value, str) or isinstance(value, Number)) | (
    st.sampled_from(["", "k" * 256, "\ud800"])
)


def _size(value: Any) -> float:
    """The value if it is a number, otherwise -1."""
    if isinstance(value, Number):
        return float(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else -1


# Every field but `device_id`: these tests are not about which device a reading belongs to.
fields = {
    "temp_tenths": temps,
    "sensor_ok": oks,
    "timestamp": anything,
    "seq": anything,
    "key": anything,
    "age_ms": anything,
    "humidity": anything,
}
bodies = st.fixed_dictionaries({}, optional=fields).filter(bool)
measurements = st.fixed_dictionaries({}, optional={"temp_tenths": temps, "sensor_ok": oks})
wrong_options = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": no_date,
        "seq": anything,
        "key": no_key,
        "age_ms": no_age,
        "humidity": anything,
        "\ud800": anything,
    },
)
