"""Reads the body of a device's post: an error in it makes it a fault, not a refusal. Pure.

Firmware ignores a refusal: a body is refused only if it names no relay of a known device.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from server.common.errors import BasError, Invalid, InvalidField
from server.control.rules.reading import NewReading
from server.services.history.measured import SAFE_INTEGER, measured, whole

# Longer integers are read as floats: Python refuses integers of more than 4,300 digits.
_DIGITS_MAX = 18

# Possessive: backtracking over a long run of blanks would cost quadratic time.
NOTHING = re.compile(rb"\s*+(\{\s*+\})?+\s*+")
_KEY = re.compile("[^\ud800-\udfff]{1,255}", re.DOTALL)
_DEVICE_ID = re.compile("[^\x00-\x1f\x7f\ud800-\udfff]{1,128}")
# Matches a string, which is kept, or a word that Python or MicroPython writes for NaN or infinity.
_WORDS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|-?\b(?:NaN|Infinity|nan|inf)\b', re.DOTALL)


class Posted(msgspec.Struct, gc=False):
    """A body as received: any JSON value in each field, None if the field is missing."""

    temp_tenths: Any = None
    sensor_ok: Any = None
    timestamp: Any = None
    device_id: Any = None
    seq: Any = None
    key: Any = None
    age_ms: Any = None
    cool_active: Any = None
    heat_active: Any = None
    relay_since_ms: Any = None


_NO_FIELDS = Posted()
UNREADABLE = NewReading(temp_tenths=None, sensor_ok=False, fault_reason="unreadable")

_decoder = msgspec.json.Decoder(Posted)
_rows_decoder = msgspec.json.Decoder(list[Posted])


def read_posted(raw: bytes) -> Posted:
    """Decode the body of a post. Raises Invalid if it is no JSON object or has no keys."""
    if NOTHING.fullmatch(raw):
        raise no_data()
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _fields(_second_look(raw, error), str(error))


def read_rows(raw: bytes, rows_max: int) -> list[Posted | BasError]:
    """The rows of a JSON array, or what is wrong with each. Raises Invalid for anything else."""
    try:
        rows = _rows_decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        rows = None  # the code below finds the rows at fault
    if rows is not None and _NO_FIELDS not in rows:
        check_count(len(rows), rows_max)
        return list(rows)
    if not raw.strip():
        return []
    try:
        pieces = msgspec.json.decode(raw, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return _rows_of(_second_look(raw, error), str(error), rows_max)
    check_count(len(pieces), rows_max)
    return [row_of(bytes(piece)) for piece in pieces]


def read_lines(raw: bytes, rows_max: int) -> list[Posted | BasError]:
    """The rows of NDJSON, one object per line, or what is wrong with each.

    Blank lines do not count.
    """
    lines = [line for line in raw.split(b"\n") if line.strip()]
    check_count(len(lines), rows_max)
    return [row_of(line) for line in lines]


def row_of(raw: bytes) -> Posted | BasError:
    """One row of a batch, or what is wrong with it."""
    try:
        return read_posted(raw)
    except BasError as error:
        return error


def check_count(count: int, rows_max: int) -> None:
    """Raise Invalid if a batch has too many rows."""
    if count > rows_max:
        raise Invalid("Too many readings", "TOO_MANY_READINGS", f"at most {rows_max} in a batch")


def no_data() -> Invalid:
    """The error for a body without keys."""
    return Invalid("No data received", "NO_DATA")


def device_of(posted: Posted) -> str | None:
    """The device that the body names, if any. Raises InvalidField for an invalid name."""
    device_id = posted.device_id
    if device_id is None or (isinstance(device_id, str) and _DEVICE_ID.fullmatch(device_id)):
        return device_id
    raise InvalidField("device_id", "must be 1 to 128 printable characters")


def reading_of(
    posted: Posted, key: str | None = None, near: str = "", source: str = ""
) -> NewReading:
    """The reading in a body; its own key, if it has one, replaces `key`.

    An optional field with an invalid value counts as missing.
    """
    temp, ok, reason = posted.temp_tenths, posted.sensor_ok, ""
    if not (ok is True and type(temp) is int and -550 <= temp <= 1250):
        temp, ok, reason = measured(temp, ok)
    timestamp, seq, age_ms, ignored = posted.timestamp, posted.seq, posted.age_ms, False
    if timestamp is not None and not (type(timestamp) is int and 0 <= timestamp <= SAFE_INTEGER):
        timestamp = whole(timestamp)
    if seq is not None and not (type(seq) is int and 0 <= seq <= SAFE_INTEGER):
        seq = None
    if age_ms is not None:
        age_ms = _age(age_ms)
    cool, heat, relay_ms = posted.cool_active, posted.heat_active, posted.relay_since_ms
    if posted.key is not None:
        if is_key(posted.key):
            key, near = posted.key, ""  # the same key may come by itself
        else:
            ignored = True
    return NewReading(
        temp_tenths=temp,
        sensor_ok=ok,
        timestamp=timestamp,
        seq=seq,
        key=key,
        near=near,
        fault_reason=reason,
        age_ms=age_ms,
        key_ignored=ignored,
        cool=cool if isinstance(cool, bool) else None,
        heat=heat if isinstance(heat, bool) else None,
        relay_ms=None if relay_ms is None else _age(relay_ms),
        source=source,
    )


def _age(value: object) -> int | None:
    """The value as milliseconds, or None if it is no non-negative number."""
    age_ms = whole(value)
    return age_ms if age_ms is not None and age_ms >= 0 else None


def is_key(key: object) -> bool:
    """Whether this is a valid key for a post that may be repeated."""
    return isinstance(key, str) and bool(_KEY.fullmatch(key))


def _second_look(raw: bytes, error: Exception) -> object:
    """Decode with Python's parser a body that is not strict JSON. Raises Invalid with the cause.

    NaN and infinity become null; numbers may be of any size; strings may hold halves of surrogate
    pairs or bytes that are not UTF-8.
    """
    try:
        return json.loads(_numbers_only(raw), parse_int=_integer)
    except RecursionError:
        raise _invalid("nested too deeply") from None
    except ValueError:
        raise _invalid(str(error)) from None


def _fields(value: object, why_not: str) -> Posted:
    """A JSON value as a body. Raises Invalid with the text `why_not` if it is no object."""
    if not isinstance(value, dict):
        raise _invalid(why_not)
    if not value:
        raise no_data()
    return Posted(**{name: value.get(name) for name in Posted.__struct_fields__})


def _rows_of(values: object, why_not: str, rows_max: int) -> list[Posted | BasError]:
    if not isinstance(values, list):
        raise _invalid(why_not)
    check_count(len(values), rows_max)
    rows: list[Posted | BasError] = []
    for value in values:
        try:
            rows.append(_fields(value, "no object"))
        except BasError as error:
            rows.append(error)
    return rows


def _invalid(why: str) -> Invalid:
    return Invalid("Invalid JSON", "INVALID_JSON", why)


def _numbers_only(raw: bytes) -> str:
    """The text with null for NaN and infinity; invalid UTF-8 bytes become surrogates."""
    return _WORDS.sub(_null, raw.decode("utf-8-sig", "surrogateescape"))


def _null(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else "null"


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _DIGITS_MAX else float(digits)
