"""Reads InfluxDB's line protocol as rows of a batch. Pure."""

from __future__ import annotations

import re

from server.common.errors import BasError, Invalid, TooLarge
from server.control.rules.posted_body import Posted, no_data

# Per second, by the name in the query.
PRECISIONS = {"ns": 10**9, "us": 10**6, "ms": 10**3, "s": 1}
DEVICE_TAG = "device_id"

# Possessive, as the text is a stranger's: no backtracking.
_NAME = r"(?:[^\\,= ]|\\.)++"
_TAG = rf",({_NAME})=({_NAME})"
_FIELD = rf'({_NAME})=("(?:[^"\\]|\\.)*+"|[^", ]++)'
_LINE = re.compile(
    rf"((?:[^\\, ]|\\.)++)((?:{_TAG})*+) ++({_FIELD}(?:,{_FIELD})*+)(?: ++(-?[0-9]{{1,19}}))? *+",
    re.DOTALL,
)
_TAGS, _FIELDS = re.compile(_TAG, re.DOTALL), re.compile(_FIELD, re.DOTALL)
_ESCAPED = re.compile(r"\\([,= ])")
_NUMBER = re.compile(r"(-?[0-9]{1,19}(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,3})?)[iu]?")
_TRUE = {"t", "T", "true", "True", "TRUE"}


def read_lines_of(
    raw: bytes, field: str, tag: str, precision: str, rows_max: int
) -> list[Posted | BasError]:
    """A row for each line that has the field (°C), or what is wrong with the line.

    The tag names the device; without it the measurement does, or with another tag than DEVICE_TAG
    the line is refused. A field `sensor_ok` that is not true, and a field that is no number, mean a
    fault. Raises Invalid if no line has the field, TooLarge beyond `rows_max` rows.
    """
    texts = raw.decode("utf-8", "surrogateescape").split("\n")
    lines = [line for text in texts if (line := text.strip("\r ")) and line[0] != "#"]
    found = (_row_of(line, field, tag, PRECISIONS[precision]) for line in lines)
    rows = [row for row in found if row is not None]
    if not rows:
        missing = no_data()
        missing.message = f"no line has the field {field[:64]}" if lines else None
        raise missing
    if len(rows) > rows_max:
        # Telegraf sends a batch that is too large again in two halves.
        raise TooLarge(message=f"at most {rows_max} readings in a body")
    return rows


def _row_of(line: str, field: str, tag: str, per_second: int) -> Posted | BasError | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return Invalid("Invalid line", "INVALID_LINE", f"no line protocol: {line[:64]!r}")
    fields = {_plain(name): value for name, value in _FIELDS.findall(match[5])}
    if field not in fields:
        return None
    tags = {_plain(name): _plain(value) for name, value in _TAGS.findall(match[2])}
    device_id = tags.get(tag) or (_plain(match[1]) if tag == DEVICE_TAG else None)
    if device_id is None:
        return Invalid("Invalid line", "INVALID_LINE", f"no tag {tag[:64]}: {line[:64]!r}")
    number, time = _NUMBER.fullmatch(fields[field]), match[10]
    return Posted(
        temp_tenths=float(number[1]) * 10 if number else None,
        sensor_ok=fields.get("sensor_ok", "true") in _TRUE,
        timestamp=int(time) * 1000 // per_second if time else None,
        device_id=device_id,
        # InfluxDB's clients send a body again if its answer was lost.
        key=f"line {time}" if time else None,
    )


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)
