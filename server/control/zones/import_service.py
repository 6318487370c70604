"""Writes all zones of a tenant as a CSV file, and changes them by such a file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from server.common.clock import Clock
from server.common.errors import BasError, Invalid
from server.control.rules.setpoint_rules import SetpointChange, in_force
from server.control.setpoint_service import SetpointService
from server.control.zone_cache import ZoneCache
from server.control.zones.csv_file import ZoneLine, ZoneRow, lines_of, read_lines_of, tenths
from server.control.zones.settings_service import (
    SettingsChange,
    ZoneSettingsService,
    check_limits,
)
from server.services.firestore.models import TenantSettings, ZoneRecord, ZoneSettings
from server.services.firestore.zone_directory import ListedZone, ZoneDirectory

# A caller waits for the changes this long, and then sends the file again for the rest.
IMPORT_S = 20.0
PAGE = 1000
# Lines that are compared in one go, some milliseconds; then other work has its turn.
AT_ONCE = 250

CellValue = str | int | None
CheckText = Callable[[str], str | None]
"""Why a text may not be a zone's name or location; None if it may."""


class CellChange(msgspec.Struct, frozen=True):
    """A value of a zone as it is, and as the file has it; temperatures are tenths of °C.

    A threshold of null is the site's.
    """

    old: CellValue
    new: CellValue


class LineResult(msgspec.Struct, frozen=True):
    """A line of the file: what changes by it, or why it is refused."""

    line: int
    device_id: str
    changes: dict[str, CellChange]
    error: str | None = None


class ImportResult(msgspec.Struct, frozen=True):
    """What a file changes. `lines` has the lines that change something or are refused.

    `left` counts the changed lines that the time was too short for: the same file changes the rest.
    """

    dry_run: bool
    unchanged: int
    changed: int
    refused: int
    left: int
    lines: list[LineResult]

    @property
    def texts(self) -> list[str]:
        """Each line in words."""
        return [
            f"line {one.line}: {one.device_id!r}: "
            + (
                one.error
                or ", ".join(f"{k} {v.old!r} -> {v.new!r}" for k, v in one.changes.items())
            )
            for one in self.lines
        ]

    @property
    def summary(self) -> str:
        """What was done, in words."""
        if self.refused:
            return f"{self.refused} lines are refused, so nothing is changed"
        if self.dry_run:
            return f"{self.changed} zones would change, {self.unchanged} lines change nothing"
        return "all zones are as in the file"


class ZoneImport:
    """Zones in and out as CSV. A file is applied only if none of its lines is refused."""

    def __init__(
        self,
        directory: ZoneDirectory,
        cache: ZoneCache,
        settings: ZoneSettingsService,
        setpoints: SetpointService,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._cache = cache
        self._settings = settings
        self._setpoints = setpoints
        self._clock = clock

    async def export(self, tenant_id: str) -> str:
        """The file with all zones, in a fixed order."""
        settings = await self._cache.fresh_settings(tenant_id)
        rows: list[ZoneRow] = []
        cursor: str | None = None
        while True:
            zones, cursor = await self._directory.page_of_zones(tenant_id, PAGE, cursor)
            for one in zones:
                own = one.settings
                texts = one.device_id, own.name, own.location
                limits = own.high_tenths, own.low_tenths
                rows.append(ZoneRow(*texts, *_values(one, settings), *limits))
            if cursor is None:
                return "".join(lines_of(rows))

    async def run(
        self, tenant_id: str, text: str, by: str, address: str, check: CheckText, *, dry_run: bool
    ) -> ImportResult:
        """Change the zones as the file says; with `dry_run` only say what would change.

        Raises Invalid, whose `more` has the refused lines, and then nothing is changed.
        """
        lines = await asyncio.to_thread(read_lines_of, text)
        settings = await self._cache.fresh_settings(tenant_id)
        found = await self._directory.some_zones(tenant_id, {one.device_id for one in lines})
        known = {one.device_id: one for one in found}
        seen: dict[str, int] = {}
        results = []
        for number, line in enumerate(lines, 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            first = seen.setdefault(line.device_id, line.number)
            if first != line.number:
                error = f"line {first} has this device too"
                results.append(LineResult(line.number, line.device_id, {}, error))
            else:
                results.append(_result(line, known.get(line.device_id), settings, check))
        result = _summed(results, dry_run)
        if dry_run:
            return result
        if result.refused:
            why = f"{result.refused} lines are refused, so nothing is changed"
            refused = [one for one in result.lines if one.error]
            raise Invalid("Import refused", "IMPORT_REFUSED", why).with_more({"lines": refused})
        return msgspec.structs.replace(
            result, left=await self._apply(tenant_id, result.lines, by, address)
        )

    async def _apply(self, tenant_id: str, lines: list[LineResult], by: str, address: str) -> int:
        """Change the zones; return how many lines are left when the time is over."""
        deadline = self._clock.monotonic() + IMPORT_S
        for number, line in enumerate(lines):
            if number and self._clock.monotonic() >= deadline:
                return len(lines) - number
            new = {field: change.new for field, change in line.changes.items()}
            texts = msgspec.convert(new, SettingsChange)
            if texts.fields:
                await self._settings.change(tenant_id, line.device_id, texts, by, address)
            if values := msgspec.convert(new, SetpointChange):
                await self._setpoints.set(tenant_id, line.device_id, values, by, address)
        return 0


def _values(one: ListedZone | None, settings: TenantSettings) -> tuple[int, int]:
    record = one.record if one is not None else None
    record = record or ZoneRecord(tenant_id=settings.tenant_id, device_id="-")
    values = in_force(record, settings)
    return values.setpoint_tenths, values.deadband_tenths


def _result(
    line: ZoneLine, known: ListedZone | None, settings: TenantSettings, check: CheckText
) -> LineResult:
    if known is None:
        error = "unknown device: register it first"
        return LineResult(line.number, line.device_id, {}, error)
    changes: dict[str, CellChange] = {}
    try:
        for field, text in (("name", line.name), ("location", line.location)):
            if text is not None and (why := check(text.strip())):
                return LineResult(line.number, line.device_id, {}, f"{field}: {why}")
            old = getattr(known.settings, field)
            if text is not None and text.strip() != old:
                changes[field] = CellChange(old, text.strip())
        setpoint, deadband = _values(known, settings)
        _add(changes, "setpoint_tenths", "setpoint_c", line.setpoint_c, setpoint)
        _add(changes, "deadband_tenths", "deadband_c", line.deadband_c, deadband)
        _add_limits(changes, line, known.settings)
    except BasError as error:
        return LineResult(line.number, line.device_id, {}, error.message or error.error)
    return LineResult(line.number, line.device_id, changes)


def _add(
    changes: dict[str, CellChange], field: str, column: str, text: str | None, old: int
) -> None:
    """Note the change of a temperature; an empty cell changes nothing. Raises Invalid."""
    if text is None or not text.strip():
        return
    new = _tenths(column, text)
    SetpointChange(**{field: new}).check()
    if new != old:
        changes[field] = CellChange(old, new)


def _add_limits(changes: dict[str, CellChange], line: ZoneLine, own: ZoneSettings) -> None:
    """Note changes of thresholds; an empty cell stands for the site's. Raises Invalid."""
    high, low = own.high_tenths, own.low_tenths
    if line.high_c is not None:
        high = _tenths("high_c", line.high_c) if line.high_c.strip() else None
    if line.low_c is not None:
        low = _tenths("low_c", line.low_c) if line.low_c.strip() else None
    check_limits(high, low)
    for field, old, new in (
        ("high_tenths", own.high_tenths, high),
        ("low_tenths", own.low_tenths, low),
    ):
        if new != old:
            changes[field] = CellChange(old, new)


def _tenths(column: str, text: str) -> int:
    new = tenths(text)
    if new is None:
        raise Invalid(message=f"{column}: degrees with at most one decimal, such as 21.5")
    return new


def _summed(results: list[LineResult], dry_run: bool) -> ImportResult:
    shown = [one for one in results if one.changes or one.error]
    refused = sum(one.error is not None for one in shown)
    changed = len(shown) - refused
    return ImportResult(dry_run, len(results) - len(shown), changed, refused, 0, shown)
