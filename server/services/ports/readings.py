"""ReadingHistory: the port of stores that keep readings by time, and the data it works with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from server.services.ports.documents import EmptyFields, Write
from server.services.ports.values import Integer, Name


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One stored reading and the command that answered it; temperatures in tenths of °C.

    `timestamp_ms` is the device's time if it sent a date, else `received_ms`. `device_ticks_ms` is
    the time of a device without a date; `device_time_ms` is a date that the server did not believe
    as it was sent. `clock` is "unknown" if the time of the measurement is unknown, and `present` is
    false if it was not measured in the present. The `temp_tenths` of a fault may be None; its
    `fault_reason` is empty if the sensor itself reported the fault. `source_digest` shows whether a
    repeated key came with the same reading.
    """

    tenant_id: Name
    device_id: Name
    timestamp_ms: Integer
    temp_tenths: Integer | None
    setpoint_tenths: Integer
    deadband_tenths: Integer
    cool_active: bool
    heat_active: bool
    state: str
    sensor_ok: bool
    received_ms: Integer = 0
    device_ticks_ms: Integer | None = None
    device_time_ms: Integer | None = None
    clock: str = ""
    present: bool = True
    fault_reason: str = ""
    source_digest: str | None = None


class NewRow(msgspec.Struct, frozen=True, gc=False):
    """A reading to store, and the id by which it is found again.

    A store finds it by its id for at least `remember_ms` after `received_ms`; 0 if a repeat of this
    reading cannot be recognised.
    """

    id: str
    reading: Reading
    remember_ms: int = 0


class ReadingPage(NamedTuple):
    """Readings, newest first, and the cursor of the next page; None after the last."""

    readings: list[Reading]
    next_cursor: str | None


class ScanPage(NamedTuple):
    """Readings of all tenants in the store's order, and where the next page begins."""

    rows: list[NewRow]
    next_cursor: str | None


class Span(NamedTuple):
    """The times start <= t <= end, in Unix milliseconds; None leaves a side open."""

    start_ms: int | None = None
    end_ms: int | None = None


ALWAYS = Span()
# A device that was silent for longer before a span is no longer in use, and not missed in it.
SILENT_MS = 30 * 86_400_000


class HeldFigures(msgspec.Struct, frozen=True):
    """Figures by time: a reading holds until the device's next one, if that comes soon.

    `mean` is the mean temperature of the time that good readings held (`covered_ms`); `known_ms` is
    the time that any reading held, `cool_ms` and `heat_ms` that in which it had the relay on.
    `devices` are those with a reading in the span or in the SILENT_MS before it; 1 if one was asked
    for.
    """

    mean: float | None
    covered_ms: int
    known_ms: int
    cool_ms: int
    heat_ms: int
    cool_starts: int
    heat_starts: int
    devices: int = 1


class RelayUse(msgspec.Struct, frozen=True):
    """How long the relays of a device were on, and how often each went on."""

    cool_ms: int = 0
    heat_ms: int = 0
    cool_starts: int = 0
    heat_starts: int = 0


class Figures(msgspec.Struct, frozen=True):
    """Figures over a span; temperatures in tenths of °C, of the `good` readings only.

    The mean is None without a good reading. `held` is None if the store cannot know it.
    """

    count: int
    good: int
    mean: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    held: HeldFigures | None = None


class ChangedSetpoint(msgspec.Struct, frozen=True):
    """The values by which a zone is controlled from `t` (Unix ms) on, in tenths of °C."""

    t: int
    setpoint_tenths: int
    deadband_tenths: int


class Packed(NamedTuple):
    """A step of packing: what was done with so many readings."""

    what: Literal["converted", "packed", "packed by another process"]
    readings: int


class Point(msgspec.Struct, frozen=True, gc=False):
    """One bucket of a chart; buckets of one chart are equally long.

    `t` is its start. Temperatures are tenths of °C, None without a good reading; `mean` is weighted
    by how long each reading held. `cool` and `heat` are the shares of its time with the relay on,
    None if no reading held at any time of it; `starts` says how often a relay went on. `faults` are
    readings without a usable temperature.
    """

    t: int
    count: int
    min: int | None
    mean: float | None
    max: int | None
    cool: float | None
    heat: float | None
    faults: int
    starts: int


class ReadingColumns(Protocol):
    """Readings of one device, oldest first, as lists of equal length: see `Columns`."""

    times: list[int]
    temps: list[int | None]
    setpoints: list[int]
    deadbands: list[int]
    flags: list[int]

    def states(self) -> list[str]:
        """The `state` of each reading."""


class Exported(NamedTuple):
    """Some encoded readings, and the time from which the others follow; None after the last."""

    body: bytes
    next_ms: int | None


class Compaction(Protocol):
    """The port of stores that pack readings when they are some time old."""

    def start(self) -> None:
        """Pack in the background of the running loop, in small steps."""

    async def stop(self) -> None:
        """End the background work, and wait for its end."""

    async def unpacked(self) -> int:
        """The number of readings that are not packed."""

    def give_back(self) -> AsyncIterator[tuple[int, int]]:
        """Give unused room of the file back to the disk; yield what is done of what, in pages.

        Raises OSError if the disk has too little room for that.
        """

    def pack(self, older_ms: int) -> AsyncIterator[Packed]:
        """Pack now all that is so old; yield after each step.

        It waits while another process packs, and yields what that does from time to time. Raises
        StoreUnavailable; what was packed stays packed.
        """


class ReadingHistory(Protocol):
    """Readings of devices by time.

    Promises: a write that returned is on disk (or with the quorum), and every later read sees it.
    Readings and documents of one write are stored together or not at all. Readings with the same
    time have a fixed order. A page cursor stays valid when readings are added or dropped. Every
    call ends within seconds, if need be with StoreUnavailable.
    """

    async def write(self, documents: Sequence[Write], rows: Sequence[NewRow]) -> list[str]:
        """Apply the documents' writes and add the readings; return the documents' new versions.

        At most BATCH_MAX documents and readings together. Raises AlreadyExists if the id of a
        remembered reading is known, and what `DocumentClient.write` raises.
        """

    async def known(self, tenant_id: str, ids: Sequence[str]) -> dict[str, Reading]:
        """The tenant's readings that are remembered under these ids, by id."""

    async def page(
        self,
        tenant_id: str,
        device_id: str | None,
        limit: int,
        span: Span = ALWAYS,
        cursor: str | None = None,
    ) -> ReadingPage:
        """At most `limit` (1 to PAGE_MAX) readings of one device or all, newest first.

        Raises Invalid for a malformed cursor.
        """

    async def figures(
        self, tenant_id: str, device_id: str | None, span: Span, now_ms: int | None = None
    ) -> Figures:
        """Figures over all readings of one device or of all the tenant's.

        Figures by time end at `now_ms` if the span ends later.
        """

    async def points(
        self, tenant_id: str, device_id: str, start_ms: int, step_ms: int, count: int
    ) -> list[Point]:
        """A chart of one device: `count` buckets of `step_ms` from `start_ms` on.

        A span of more than a week begins at a whole hour and has steps of whole hours. Raises
        Invalid if the store would have to read too many readings.
        """

    async def setpoints(
        self, tenant_id: str, device_id: str, start_ms: int, end_ms: int
    ) -> list[ChangedSetpoint]:
        """The values in force at `start_ms`, and each change until `end_ms`, oldest first.

        A value that was in force for less than a 240th of the span may be missing if there are
        many, or if the store has to look for them.
        """

    async def relay_use(self, tenant_id: str, until_ms: int) -> dict[str, RelayUse] | None:
        """What all stored readings until then say of each device; None if it is not known."""

    async def export(
        self,
        tenant_id: str,
        device_id: str,
        span: Span,
        encode: Callable[[ReadingColumns], bytes],
    ) -> Exported:
        """The first readings of the span, oldest first, at most those of some hours.

        `encode` is called once, perhaps in another thread; there may be no reading.
        """

    async def count(self) -> int:
        """The number of readings of all tenants."""

    async def tenant_ids(self) -> list[str]:
        """Every tenant that has readings, or had some that expired."""

    def delete_tenant(self, tenant_id: str) -> AsyncIterator[int]:
        """Delete all that is kept of a tenant; yield after each step about how many readings.

        It may be stopped at any time and started again. No other process may store readings of this
        tenant from its beginning on.
        """

    def delete_readings_of(self, tenant_id: str, device_id: str) -> AsyncIterator[int]:
        """Delete a device's readings; yield after each step about how many, 0 while it waits.

        It may be stopped at any time and started again. Readings posted during it may stay.
        """

    async def scan(self, limit: int, cursor: str | None = None) -> ScanPage:
        """At most `limit` (1 to PAGE_MAX) readings of all tenants, to copy them.

        Raises Invalid for a malformed cursor.
        """

    async def missing(self, rows: Sequence[NewRow]) -> list[NewRow]:
        """Those of the rows that are not stored yet, so that a copy may be resumed.

        A reading counts as stored once for each equal row.
        """


@runtime_checkable
class DemandingHistory(Protocol):
    """The ability of a history whose writes check a document that they do not write."""

    async def write_if(
        self, documents: Sequence[Write], rows: Sequence[NewRow], demand: EmptyFields
    ) -> list[str]:
        """`ReadingHistory.write`, in one transaction with the check of `demand`.

        Raises DemandUnmet, and nothing is written then.
        """
