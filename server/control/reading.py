"""A posted reading: its date, how a repeated post is recognised, and what is stored of it. Pure."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from server.control.zone import Relays
from server.services.firestore.base import document_id, escaped
from server.services.firestore.drawing import hex_digits
from server.services.firestore.models import DAY_MS, Reading, utc_text

# A device that knows no date sends milliseconds since power-on: anything outside is not a date.
EARLIEST_DATE_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z
LATEST_AHEAD_MS = 5 * 60_000
# A device counts `seq` from its power-on: the same number this much later is another reading.
SEQ_MEMORY_MS = 10 * 60_000
# Digits of an id that a batch's readings share; 80 bits are left to tell them apart.
NEAR = 12
# Digits of the id of a reading that cannot be repeated: 96 bits.
ID_DIGITS = 24


class NewReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A reading as it was posted. `key` is the caller's Idempotency-Key.

    Without `sensor_ok` it is a fault, with `fault_reason` one that the sensor did not report.
    `timestamp` is a date or the device's ticks; `age_ms` is from measuring to sending. `cool` and
    `heat` are what the device says that its relays are, `relay_ms` how long ago the cooler's
    switched; `source` is the address it came from.
    `key_ignored` says that it came with a key that is none.

    `near` begins the id it is stored under, where that need not be found otherwise: what is stored
    together lies together, which spares the store a page for each reading.
    """

    temp_tenths: int | None
    sensor_ok: bool
    timestamp: int | None = None
    seq: int | None = None
    key: str | None = None
    near: str = ""
    fault_reason: str = ""
    age_ms: int | None = None
    key_ignored: bool = False
    cool: bool | None = None
    heat: bool | None = None
    relay_ms: int | None = None
    source: str = ""

    def date_ms(self, now_ms: int) -> int | None:
        """When it was measured, as far as the device says, if it came at `now_ms`."""
        if self.age_ms is not None:
            return max(now_ms - self.age_ms, EARLIEST_DATE_MS)
        date = self.timestamp
        if date is not None and EARLIEST_DATE_MS <= date <= now_ms + LATEST_AHEAD_MS:
            return date
        return None

    def digest(self) -> str:
        """What was measured, as one short text: equal for a repeated post, and for no other of
        the same moment."""
        text = f"{self.temp_tenths}_{self.sensor_ok}_{self.timestamp}_{self.seq}"
        return _digest_of(text if self.key is None else f"{text}_{escaped(self.key)}")

    def source_ids(self, tenant_id: str, device_id: str, now_ms: int) -> list[str]:
        """The document ids a repetition of this post may be stored under; it is stored under the
        first. A key's is for ever, a `seq`'s for one span of memory, so the last span counts too.
        """
        if self.key is not None:
            own = _digest(tenant_id, device_id, "key", self.key)
            return [self.near + own[len(self.near) :]]
        if self.seq is not None:
            span = now_ms // SEQ_MEMORY_MS
            seq = self.digest()
            return [_digest(tenant_id, device_id, seq, str(one)) for one in (span, span - 1)]
        return [self.near + hex_digits(ID_DIGITS - len(self.near))]

    @property
    def may_repeat(self) -> bool:
        """Whether a repetition of this post can be recognised at all."""
        return self.key is not None or self.seq is not None

    def repeats(self, stored: Reading, now_ms: int) -> bool:
        """Whether `stored`, found under one of this post's ids, is this very reading."""
        return self.key is not None or now_ms - stored.received_ms < SEQ_MEMORY_MS


def near_each_other(batch_key: str | None = None) -> str:
    """How the ids of readings that come together begin; the same again for a repeated batch."""
    return hex_digits(NEAR) if batch_key is None else _digest(batch_key)[:NEAR]


def announcement_key(reading: Reading) -> str:
    """What the announcement of a reading that may be posted again is known by; else ""."""
    if reading.source_digest is None:
        return ""
    return f"{reading.received_ms}_{reading.source_digest}_{reading.device_id}"


class Timing(NamedTuple):
    """How the dates of a post are read: `shift_ms` is added to each; `unknown` if the device's
    clock is not known to be right; `present` if the post speaks of now."""

    shift_ms: int = 0
    unknown: bool = False
    present: bool = True


AS_DATED = Timing()


def stored_reading(
    new: NewReading,
    *,
    tenant_id: str,
    device_id: str,
    relays: Relays,
    setpoint_tenths: int,
    deadband_tenths: int,
    now_ms: int,
    keep_days: int,
    digest: str | None = None,
    timing: Timing = AS_DATED,
) -> Reading:
    """The reading as it is kept, with the command it is answered with; `digest` is its own, where
    it was made before."""
    date = new.date_ms(now_ms)
    sent, ticks = None, new.timestamp
    if date is None:
        timestamp_ms = now_ms
    elif new.age_ms is not None:
        timestamp_ms = date
        sent = msgspec.structs.replace(new, age_ms=None).date_ms(now_ms)
        ticks = ticks if sent is None else None
    else:
        timestamp_ms, ticks = date + timing.shift_ms, None
        sent = date if timing.shift_ms else None
    # Python makes a call with more than 15 arguments by name three times slower.
    reading = Reading(
        tenant_id=tenant_id,
        device_id=device_id,
        timestamp_ms=timestamp_ms,
        utc_timestamp=utc_text(timestamp_ms),
        received_ms=now_ms,
        temp_tenths=new.temp_tenths,
        setpoint_tenths=setpoint_tenths,
        deadband_tenths=deadband_tenths,
        cool_active=relays.cool,
        heat_active=relays.heat,
        state=relays.state,
        sensor_ok=new.sensor_ok,
        expire_at=now_ms + keep_days * DAY_MS,
        source_digest=digest or (new.digest() if new.may_repeat else None),
    )
    if ticks is None and timing is AS_DATED and not new.fault_reason and new.age_ms is None:
        return reading
    return msgspec.structs.replace(
        reading,
        device_ticks_ms=ticks,
        device_time_ms=sent,
        clock="unknown" if timing.unknown else "",
        present=timing.present,
        fault_reason=new.fault_reason,
    )


def _digest(*parts: str) -> str:
    return _digest_of(document_id(*parts))


def _digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
