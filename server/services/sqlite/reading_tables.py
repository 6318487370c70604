"""The tables of readings in an SQLite file, and how a reading becomes a row of them.

New readings go into `readings`, whose key begins with the time: all devices write to the same page,
so a commit changes few pages. Readings of the past go into `late_readings`, whose key begins with
the device. Sealed readings are in `reading_blocks`, packed. The sums of each hour are in
`reading_hours`, and those of days in `reading_days`, see day_sums.py.

`reading_marks` holds slots. Readings before `closing` or `frozen` are late, so that those there do
not change any more; what is before `closing` is sealed next, and before `sealed` it is in blocks.
`frozen` follows the present more closely: the hours before `summed` have their sums, although they
are sealed later. `reading_keys` remembers which posts would be repeats.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from operator import add
from typing import Any, NamedTuple

import msgspec

from server.services.history.columns import Texts, flags_of
from server.services.ports.readings import NewRow, Reading
from server.services.ports.values import INTEGER_MAX, INTEGER_MIN

# A slot is short, so that a row of a device lies close to the other devices' rows of the same time.
SLOT_MS = 10_000
# A block holds the readings of one device in one span.
SPAN_SLOTS = 720
SPAN_MS = SLOT_MS * SPAN_SLOTS
HOUR_MS = 3_600_000
HOUR_SLOTS = HOUR_MS // SLOT_MS
DAY_HOURS = 24
# Keys are forgotten by period. One is counted in weeks, or in hours if it is short.
WEEK_MS = 7 * 24 * HOUR_MS

# The position of a name in the list is stored: append new ones at the end.
STATES = ("IDLE", "COOLING", "IDLE_WITH_LEDS", "COOLING_WITH_LEDS", "FAULT")
STATE_CODES = {name: code for code, name in enumerate(STATES)}
OTHER_STATE = 15
FLAG_BITS, FLAG_MASK, STATE_MASK = 4, 15, 15

ROW_COLUMNS = "slot, series, ms, n, temp, setpoint, deadband, flags, received, ticks, more"
_ROW = """slot INTEGER NOT NULL, series INTEGER NOT NULL, ms INTEGER NOT NULL, n INTEGER NOT NULL,
    temp INTEGER, setpoint INTEGER NOT NULL, deadband INTEGER NOT NULL, flags INTEGER NOT NULL,
    received INTEGER NOT NULL, ticks INTEGER, more TEXT"""


def day_of(hour: str) -> str:
    """The SQL of an hour's day. SQLite's own division rounds towards 1970."""
    return f"({hour} - ({hour} % {DAY_HOURS} + {DAY_HOURS}) % {DAY_HOURS}) / {DAY_HOURS}"


_SUMS = """count INTEGER NOT NULL, good INTEGER NOT NULL, total INTEGER NOT NULL,
    minimum INTEGER, minimum_ms INTEGER, maximum INTEGER, maximum_ms INTEGER,
    covered_ms INTEGER NOT NULL, weighted INTEGER NOT NULL, known_ms INTEGER NOT NULL,
    cool_ms INTEGER NOT NULL, heat_ms INTEGER NOT NULL,
    cool_starts INTEGER NOT NULL, heat_starts INTEGER NOT NULL"""

TABLES = (
    """CREATE TABLE IF NOT EXISTS reading_series (id INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL, device_id TEXT NOT NULL, UNIQUE (tenant_id, device_id))""",
    f"CREATE TABLE IF NOT EXISTS readings ({_ROW},"
    " PRIMARY KEY (slot, series, ms, n)) WITHOUT ROWID",
    f"CREATE TABLE IF NOT EXISTS late_readings ({_ROW},"
    " PRIMARY KEY (series, slot, ms, n)) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS reading_keys (period INTEGER NOT NULL, key BLOB NOT NULL,
    digest TEXT, series INTEGER NOT NULL, time INTEGER NOT NULL, received INTEGER NOT NULL,
    content INTEGER NOT NULL, PRIMARY KEY (period, key)) WITHOUT ROWID""",
    # Not WITHOUT ROWID: such a table keeps at most a quarter page of a body beside the key.
    """CREATE TABLE IF NOT EXISTS reading_blocks (series INTEGER NOT NULL, span INTEGER NOT NULL,
    count INTEGER NOT NULL, last INTEGER NOT NULL, body BLOB NOT NULL, UNIQUE (series, span))""",
    f"""CREATE TABLE IF NOT EXISTS reading_hours (series INTEGER NOT NULL, hour INTEGER NOT NULL,
    {_SUMS}, PRIMARY KEY (series, hour)) WITHOUT ROWID""",
    f"""CREATE TABLE IF NOT EXISTS reading_days (series INTEGER NOT NULL, day INTEGER NOT NULL,
    {_SUMS}, PRIMARY KEY (series, day)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS changed_days (series INTEGER NOT NULL, day INTEGER NOT NULL,
    PRIMARY KEY (series, day)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS reading_marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL)
    WITHOUT ROWID""",
    # Before every slot (-2^62): nothing is late, and nothing is summed up or sealed yet.
    """INSERT OR IGNORE INTO reading_marks SELECT column1, -4611686018427387904
    FROM (VALUES ('closing'), ('sealed'), ('frozen'), ('summed'), ('days'))""",
    # Whatever changes an hour, its day is summed up again: no program can forget it.
    *(
        f"""CREATE TRIGGER IF NOT EXISTS "reading_hours.{event}" AFTER {event} ON reading_hours
    WHEN {row}.hour < (SELECT value / 360 FROM reading_marks WHERE name = 'days')
    BEGIN INSERT OR IGNORE INTO changed_days VALUES ({row}.series, {day_of(f"{row}.hour")}); END"""  # noqa: S608 - constants
        for event, row in (("INSERT", "NEW"), ("DELETE", "OLD"))
    ),
)


class Owner(NamedTuple):
    """A device and its tenant."""

    tenant_id: str
    device_id: str


class StoredRow(NamedTuple):
    """A row of `readings` or `late_readings`, in the order of ROW_COLUMNS.

    Its time is `slot * SLOT_MS + ms`; `n` orders rows of the same time; `received` is the time from
    there to the receipt. `more` has what few readings have, as JSON.
    """

    slot: int
    series: int
    ms: int
    n: int
    temp: int | None
    setpoint: int
    deadband: int
    flags: int
    received: int
    ticks: int | None
    more: str | None


class More(msgspec.Struct, omit_defaults=True, rename={"device_time": "d", "fault_reason": "f"}):
    """Fields that few readings have."""

    device_time: int | None = None
    fault_reason: str = ""
    state: str = msgspec.field(name="s", default="")
    clock: str = msgspec.field(name="c", default="")


_more = msgspec.json.Decoder(More)


class Key(NamedTuple):
    """How a post is remembered: its key, the digest of its content and the times of its reading.

    `content` tells its reading from the device's others of the same time; see `checksum`.
    """

    period: int
    key: bytes
    digest: str | None
    time: int
    received: int
    content: int


def row_of(reading: Reading, series: int, n: int = 0) -> StoredRow:
    """The row of a reading."""
    slot, ms = divmod(reading.timestamp_ms, SLOT_MS)
    code = STATE_CODES.get(reading.state, OTHER_STATE)
    more = None
    if (
        reading.device_time_ms is not None
        or reading.fault_reason
        or reading.clock
        or code == OTHER_STATE
    ):
        state = reading.state if code == OTHER_STATE else ""
        rare = More(reading.device_time_ms, reading.fault_reason, state, reading.clock)
        more = msgspec.json.encode(rare).decode()
    received = reading.received_ms - reading.timestamp_ms
    return StoredRow(
        slot,
        series,
        ms,
        n,
        reading.temp_tenths,
        reading.setpoint_tenths,
        reading.deadband_tenths,
        flags_of(reading) + (code << FLAG_BITS),
        received if INTEGER_MIN <= received <= INTEGER_MAX else 0,
        reading.device_ticks_ms,
        more,
    )


def _array(value: str) -> str:
    """The SQL of all rows' values as a JSON array: each row would cost a wait for Python's lock."""
    return f"'[' || group_concat(ifnull({value}, 'null')) || ']'"


def _rare_array(column: str, value: str) -> str:
    """As `_array`; NULL if no row has a value."""
    return f"CASE WHEN count({column}) THEN {_array(value)} END"


_TIMES = _array(f"r.slot * {SLOT_MS} + r.ms")
# The number of each row's device, and what `columns_of` and `samples_of` take.
SERIES = _array("r.series")
COLUMNS = ", ".join(
    (
        _TIMES,
        *(_array(f"r.{name}") for name in ("temp", "setpoint", "deadband", "flags", "received")),
        _rare_array("r.ticks", "r.ticks"),
        _rare_array("r.more", "json_quote(r.more)"),
    )
)
SAMPLES = ", ".join((_TIMES, _array("r.temp"), _array(f"r.flags & {FLAG_MASK}")))

integers = msgspec.json.Decoder(list[int])
_numbers = msgspec.json.Decoder(list[int | None])
_texts = msgspec.json.Decoder(list[str | None])
_TEXTS = [Texts(name) for name in STATES] + [Texts("")] * (STATE_MASK + 1 - len(STATES))


Lists = Sequence[list[Any]]
"""The fields of `Columns` or of `Samples`, of the rows of one device or of several."""


def columns_of(lists: Sequence[str | None]) -> Lists:
    """The fields of `Columns` from a row of COLUMNS."""
    times = integers.decode(lists[0] or "[]")
    flags = integers.decode(lists[4] or "[]")
    texts = [_TEXTS[flag >> FLAG_BITS & STATE_MASK] for flag in flags]
    ticks, more = lists[6:]
    nothing: list[int | None] = [None] * len(times)
    device_times = nothing
    if more is not None:
        device_times = nothing.copy()
        for index, text in enumerate(_texts.decode(more)):
            if text is not None:
                rare = _more.decode(text)
                device_times[index] = rare.device_time
                state = rare.state or texts[index].state
                texts[index] = Texts(state, rare.clock, rare.fault_reason)
    return (
        times,
        _numbers.decode(lists[1] or "[]"),
        integers.decode(lists[2] or "[]"),
        integers.decode(lists[3] or "[]"),
        [flag & FLAG_MASK for flag in flags],
        texts,
        nothing if ticks is None else _numbers.decode(ticks),
        device_times,
        list(map(add, times, integers.decode(lists[5] or "[]"))),
    )


def samples_of(lists: Sequence[str | None]) -> Lists:
    """The fields of `Samples` from a row of SAMPLES."""
    times, temps, flags = (text or "[]" for text in lists)
    return integers.decode(times), _numbers.decode(temps), integers.decode(flags)


def checksum(row: StoredRow) -> int:
    """A number for what a block keeps of a row beside its time."""
    kept = row.temp, row.setpoint, row.deadband, row.flags, row.ticks, row.more
    return zlib.crc32(msgspec.json.encode(kept))


def key_of(row: NewRow, stored: StoredRow) -> Key | None:
    """How a row's post is remembered; None if it is not."""
    if not row.remember_ms:
        return None
    reading = row.reading
    until_ms = reading.received_ms + row.remember_ms
    long = row.remember_ms >= WEEK_MS
    # Negative periods count hours, so that the two kinds stay apart.
    period = until_ms // WEEK_MS if long else -(until_ms // HOUR_MS) - 1
    return Key(
        period,
        key_bytes(row.id),
        reading.source_digest,
        reading.timestamp_ms,
        reading.received_ms,
        checksum(stored),
    )


def key_bytes(row_id: str) -> bytes:
    """An id as it is stored: 32 hexadecimal digits take 16 bytes."""
    if len(row_id) == 32:
        try:
            digits = bytes.fromhex(row_id)
        except ValueError:
            return row_id.encode()
        if digits.hex() == row_id:
            return digits
    return row_id.encode()


def is_over(period: int, now_ms: int) -> bool:
    """Whether all keys of a period may be forgotten."""
    if period >= 0:
        return (period + 1) * WEEK_MS <= now_ms
    return -period * HOUR_MS <= now_ms
