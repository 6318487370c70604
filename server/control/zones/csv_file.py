"""Zones as a CSV file that a spreadsheet opens, and such a file read again; pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from server.common.errors import Invalid
from server.services.history.csv_lines import cell, degrees

COLUMNS = ("device_id", "name", "location", "setpoint_c", "deadband_c", "high_c", "low_c")
ROWS_MAX = 10_000
# A spreadsheet takes such a text for a formula. It gets an apostrophe more, which is taken away
# when the file is read; so a text that has one itself is the same afterwards.
_FORMULA = re.compile(r"'*\s*[=+\-@]")
_DEGREES = re.compile(r"(-?)([0-9]{1,3})(?:[.,]([0-9])0*)?")


class ZoneLine(NamedTuple):
    """A line of the file: its number in it, and its cells; None for a column that is missing."""

    number: int
    device_id: str
    name: str | None
    location: str | None
    setpoint_c: str | None
    deadband_c: str | None
    high_c: str | None
    low_c: str | None


class ZoneRow(NamedTuple):
    """A zone to write; temperatures are tenths of °C, None for a threshold that it lacks."""

    device_id: str
    name: str
    location: str
    setpoint_tenths: int
    deadband_tenths: int
    high_tenths: int | None
    low_tenths: int | None


def lines_of(rows: Iterable[ZoneRow]) -> Iterator[str]:
    """The lines of a file."""
    yield ",".join(COLUMNS) + "\n"
    for row in rows:
        cells = [_guarded(text) for text in (row.device_id, row.name, row.location)]
        values = row.setpoint_tenths, row.deadband_tenths, row.high_tenths, row.low_tenths
        cells += ["" if value is None else degrees(value) for value in values]
        yield ",".join(cells) + "\n"


def read_lines_of(text: str) -> list[ZoneLine]:
    """The lines of a file with a comma or a semicolon between its columns.

    Raises Invalid if it has no header of these columns, is no CSV, or is too long.
    """
    text = text.removeprefix("\ufeff")
    header = text.partition("\n")[0]
    between = ";" if ";" in header else ","
    found: list[ZoneLine] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        _check_header(names)
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(names):
                raise _no_csv(f"line {reader.line_num} has {len(cells)} cells, not {len(names)}")
            if len(found) == ROWS_MAX:
                raise _no_csv(f"at most {ROWS_MAX:,} lines")
            of = dict(zip(names, map(_bare, cells), strict=True))
            found.append(ZoneLine(reader.line_num, of.pop("device_id"), *map(of.get, COLUMNS[1:])))
    except csv.Error as error:
        raise _no_csv(f"line {reader.line_num}: {error}") from None
    return found


def tenths(text: str) -> int | None:
    """Degrees with at most one decimal in tenths; None if the text is no such number."""
    found = _DEGREES.fullmatch(text.strip())
    if found is None:
        return None
    size = int(found[2]) * 10 + int(found[3] or 0)
    return -size if found[1] else size


def _check_header(names: list[str]) -> None:
    if "device_id" not in names or len(set(names)) < len(names) or not set(names) <= {*COLUMNS}:
        raise _no_csv(f"the first line must name the columns: {', '.join(COLUMNS)}")


def _guarded(text: str) -> str:
    if _FORMULA.match(text):
        return "\"'" + text.replace('"', '""') + '"'
    return cell(text)


def _bare(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _no_csv(why: str) -> Invalid:
    return Invalid("Invalid CSV", "INVALID_CSV", why)
