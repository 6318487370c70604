"""One zone's readings, decided on and made into writes: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from server.control.reading import NewReading, stored_reading
from server.control.settings import Setpoints
from server.control.views import Command, heard, relays_on, switched
from server.control.zone import decide_batch
from server.errors import BasError, Unprocessable
from server.services.firestore.base import Create
from server.services.firestore.models import Reading, ZoneRecord
from server.services.firestore.telemetry_store import TelemetryStore


class Row(msgspec.Struct, frozen=True, gc=False):
    """A reading and its place in the batch."""

    place: int
    new: NewReading


class Share(msgspec.Struct, frozen=True, gc=False):
    """Readings of one device, oldest first, as many as are written together; whether the newest
    of the whole batch is among them."""

    device_id: str
    rows: Sequence[Row]
    newest: bool


class Moment(NamedTuple):
    """When the readings are decided on: Unix time, uptime on the time line `boot`, and the time
    that orders zones by who was heard last, all in ms."""

    now_ms: int
    uptime_ms: float
    steady_ms: int
    boot: str


class Plan(msgspec.Struct, frozen=True, gc=False):
    """The zone afterwards, None if all of it came before; what is stored and announced with it;
    how many came before; and which rows were refused why."""

    zone: ZoneRecord | None
    command: Command | None
    creations: list[Create]
    announced: list[Reading]
    repeated: int
    errors: dict[int, BasError]


class _Taken(msgspec.Struct, frozen=True, gc=False):
    """A reading that is obeyed; stored under `doc_id`, or not again (None)."""

    new: NewReading
    doc_id: str | None
    digest: str | None


def plan(
    share: Share,
    before: ZoneRecord,
    values: Setpoints,
    earlier: Mapping[str, Reading],
    moment: Moment,
    keep_days: int,
) -> Plan:
    """Decide on a share, over the zone as it was. `earlier` has what is stored already, by id.

    A reading whose key came before is not obeyed again; one whose `seq` did is, since it may come
    from a device that was restarted. Neither is stored again. All but the newest are stored with
    the command that was in force when they came, the newest with the one it led to.
    """
    taken, announced, repeated, errors = _sorted_out(share, before, earlier, moment.now_ms)
    if not taken:
        return Plan(None, None, [], announced, repeated, errors)
    was = relays_on(before, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
    relays = decide_batch(
        was,
        [(one.new.temp_tenths, one.new.sensor_ok) for one in taken],
        newest=share.newest,
        setpoint_tenths=values.setpoint_tenths,
        deadband_tenths=values.deadband_tenths,
        now_ms=moment.uptime_ms,
    )
    creations = []
    for one in taken:
        reading = stored_reading(
            one.new,
            tenant_id=before.tenant_id,
            device_id=before.device_id,
            relays=relays if one is taken[-1] else was,
            setpoint_tenths=values.setpoint_tenths,
            deadband_tenths=values.deadband_tenths,
            now_ms=moment.now_ms,
            keep_days=keep_days,
            digest=one.digest,
        )
        if one.doc_id is not None:
            creations.append(TelemetryStore.creation(one.doc_id, reading))
            announced.append(reading)
    if taken[-1].doc_id is None and (relays.cool, relays.heat) != (was.cool, was.heat):
        announced.append(reading)
    zone = switched(before, relays, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
    zone = heard(zone, reading, seen_ms=moment.steady_ms)
    command = command_of(zone, values)
    return Plan(zone, command, creations, announced, repeated, errors)


def command_of(zone: ZoneRecord, values: Setpoints) -> Command:
    """What a zone's device is told."""
    return Command(zone.cool, zone.heat, values.setpoint_tenths, values.deadband_tenths)


def _sorted_out(
    share: Share, before: ZoneRecord, earlier: Mapping[str, Reading], now_ms: int
) -> tuple[list[_Taken], list[Reading], int, dict[int, BasError]]:
    """What is obeyed, what came before and may not have been announced, how many did, refusals."""
    taken: list[_Taken] = []
    repeats: list[Reading] = []
    errors: dict[int, BasError] = {}
    digests: dict[str, str] = {}
    repeated = 0
    for row in share.rows:
        new = row.new
        ids = new.source_ids(before.tenant_id, before.device_id, now_ms)
        if not new.may_repeat:
            taken.append(_Taken(new, ids[0], None))
            continue
        digest = new.digest()
        stored = next(
            (one for one in map(earlier.get, ids) if one and new.repeats(one, now_ms)), None
        )
        known = stored.source_digest if stored else digests.get(ids[0])
        if known is None:
            digests[ids[0]] = digest
            taken.append(_Taken(new, ids[0], digest))
        elif new.key is not None and known != digest:
            errors[row.place] = Unprocessable()
        else:
            repeated += 1
            if stored is not None:
                repeats.append(stored)
            if new.key is None:
                taken.append(_Taken(new, None, digest))
    return taken, repeats, repeated, errors
