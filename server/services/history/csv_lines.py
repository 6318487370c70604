"""CsvLines: writes readings as lines of a CSV file that a spreadsheet opens; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import repeat
from operator import floordiv, mod

from server.services.history.columns import COOL, HEAT, SENSOR_OK
from server.services.ports.readings import ReadingColumns

HEADER = b"time_local,time_utc,device_id,temp_c,setpoint_c,deadband_c,cool,heat,state,sensor_ok\n"
MINUTE_MS = 60_000
# The caches are emptied at this size; readings in order need few entries.
CACHED_MAX = 10_000
# A spreadsheet takes a text that begins like this for a formula, also between quotes.
_FORMULA = re.compile(r"\s*[=+\-@]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS_FROM, _YEARS_TO = datetime(2, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


class CsvLines:
    """Writes the readings of one device; use it for one export, and in one thread at a time.

    Local times are those of `zone`, of the system's zone without one. Most of a line was written
    before: the minute, the temperature, and what follows it.
    """

    def __init__(self, device_id: str, zone: tzinfo | None) -> None:
        self._device = f",{cell(device_id)},"
        self._zone = zone
        self._minutes: dict[int, tuple[str, str]] = {}
        self._temps: dict[int | None, str] = {None: ""}
        self._ends: dict[tuple[int, int, int, str], str] = {}

    def __call__(self, columns: ReadingColumns) -> bytes:
        """The lines of these readings, in UTF-8."""
        times = columns.times
        minutes = list(map(floordiv, times, repeat(MINUTE_MS)))
        ends = list(
            zip(
                columns.setpoints,
                columns.deadbands,
                columns.flags,
                columns.states(),
                strict=True,
            )
        )
        self._add_minutes(set(minutes))
        self._add_temps(set(columns.temps))
        self._add_ends(set(ends))
        rows = zip(
            map(self._minutes.__getitem__, minutes),
            map(_SECONDS.__getitem__, map(mod, times, repeat(MINUTE_MS))),
            map(self._temps.__getitem__, columns.temps),
            map(self._ends.__getitem__, ends),
            strict=True,
        )
        device = self._device
        lines = [
            f"{local}{second}{utc}{second}Z{device}{temp}{end}"
            for (local, utc), second, temp, end in rows
        ]
        return "".join(lines).encode()

    def _add_minutes(self, minutes: Iterable[int]) -> None:
        known = self._minutes
        if len(known) > CACHED_MAX:
            known.clear()
        for minute in minutes:
            if minute not in known:
                local, utc = _local_and_utc(minute, self._zone)
                known[minute] = f"{_until_minute(local, ' ')}:", f",{_until_minute(utc, 'T')}:"

    def _add_temps(self, temps: Iterable[int | None]) -> None:
        for temp in temps:
            if temp is not None and temp not in self._temps:
                self._temps[temp] = degrees(temp)

    def _add_ends(self, ends: Iterable[tuple[int, int, int, str]]) -> None:
        known = self._ends
        if len(known) > CACHED_MAX:
            known.clear()
        for end in ends:
            if end not in known:
                setpoint, deadband, flags, state = end
                cool, heat, ok = (int(flags & bit > 0) for bit in (COOL, HEAT, SENSOR_OK))
                values = degrees(setpoint), degrees(deadband), cool, heat, cell(state), ok
                known[end] = f",{','.join(map(str, values))}\n"


class _Seconds(dict[int, str]):
    """The seconds of a time from its milliseconds since the minute, as text."""

    def __missing__(self, ms: int) -> str:
        text = self[ms] = f"{ms // 1000:02}.{ms % 1000:03}"
        return text


# At most 60,000 texts, about 5 MB.
_SECONDS = _Seconds()


def degrees(tenths: int) -> str:
    """Tenths of °C in °C, always with one decimal, so that readers see one type in a column."""
    sign = "-" if tenths < 0 else ""
    whole, rest = divmod(abs(tenths), 10)
    return f"{sign}{whole}.{rest}"


def cell(text: str) -> str:
    """A text as a cell; one that a spreadsheet would calculate begins with an apostrophe."""
    if _FORMULA.match(text):
        return "\"'" + text.replace('"', '""') + '"'
    if any(letter in text for letter in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _until_minute(time: datetime, between: str) -> str:
    return time.replace(tzinfo=None).isoformat(between, "minutes")


def _local_and_utc(minute: int, zone: tzinfo | None) -> tuple[datetime, datetime]:
    """The start of a minute; a time that no calendar has becomes the nearest one that it has."""
    try:
        utc = _EPOCH + timedelta(minutes=minute)
    except OverflowError:
        utc = _YEARS_TO if minute > 0 else _YEARS_FROM
    return min(max(utc, _YEARS_FROM), _YEARS_TO).astimezone(zone), utc
