"""A posted reading: its date, how a repeated post is recognised, and what is stored of it. Pure."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from server.common.random_ids import hex_digits
from server.control.rules.relay_rule import Relays
from server.services.firestore.base import document_id, escaped
from server.services.firestore.models import DAY_MS
from server.services.ports.readings import Reading

# A device without a date sends milliseconds since power-on: a value outside this range is no date.
EARLIEST_DATE_MS = 1_577_836_800_000  # 2020-01-01T00:00:00Z
LATEST_AHEAD_MS = 5 * 60_000
# A device counts `seq` from power-on: the same number this much later is another reading.
SEQ_MEMORY_MS = 10 * 60_000
# An Idempotency-Key is remembered for this time.
KEY_MEMORY_MS = 7 * DAY_MS
# Digits of an id that a batch's readings share; the other 80 bits make it unique.
NEAR = 12
# Digits of the id of a reading that cannot be repeated: 96 bits.
ID_DIGITS = 24


class NewReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A reading as posted. `key` is the caller's Idempotency-Key.

    Without `sensor_ok` it is a fault; `fault_reason` is set if the sensor itself did not report it.
    `timestamp` is a date or the device's ticks; `age_ms` is the time from measuring to sending.
    `cool` and `heat` are the relays that the device reports, `relay_ms` the time since the cooler's
    relay switched; `source` is the sender's address. `key_ignored` is true if the post had an
    invalid key.

    `near` is the start of the id under which it is stored, unless a repeat must be found by its own
    key alone: readings that are stored together then lie together, which saves the store a page per
    reading.
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
        """When it was measured, by the device's data, if it came at `now_ms`; None if unknown."""
        if self.age_ms is not None:
            return max(now_ms - self.age_ms, EARLIEST_DATE_MS)
        date = self.timestamp
        if date is not None and EARLIEST_DATE_MS <= date <= now_ms + LATEST_AHEAD_MS:
            return date
        return None

    def digest(self) -> str:
        """A short text of the content, equal for a repeated post.

        No other post of the same moment has the same text.
        """
        text = f"{self.temp_tenths}_{self.sensor_ok}_{self.timestamp}_{self.seq}"
        return _digest_of(text if self.key is None else f"{text}_{escaped(self.key)}")

    def source_ids(self, tenant_id: str, device_id: str, now_ms: int) -> list[str]:
        """The document ids under which a repeat of this post may be stored.

        A new post is stored under the first. The id of a key never changes; that of a `seq` changes
        every SEQ_MEMORY_MS, so the one before counts too.
        """
        if self.key is not None:
            # Most keys hold characters that are escaped; the ids before them seldom do.
            own = _digest_of(f"{document_id(tenant_id, device_id, 'key')}_{escaped(self.key)}")
            return [self.near + own[len(self.near) :]]
        if self.seq is not None:
            span = now_ms // SEQ_MEMORY_MS
            seq = self.digest()
            return [_digest(tenant_id, device_id, seq, str(one)) for one in (span, span - 1)]
        return [self.near + hex_digits(ID_DIGITS - len(self.near))]

    @property
    def may_repeat(self) -> bool:
        """Whether a repeat of this post can be recognised."""
        return self.key is not None or self.seq is not None

    @property
    def remember_ms(self) -> int:
        """How long a repeat of this post must be recognised."""
        if self.key is not None:
            return KEY_MEMORY_MS
        return SEQ_MEMORY_MS if self.seq is not None else 0

    def repeats(self, stored: Reading, now_ms: int) -> bool:
        """Whether `stored`, found under one of this post's ids, is the same reading."""
        return self.key is not None or now_ms - stored.received_ms < SEQ_MEMORY_MS


def near_each_other(batch_key: str | None = None) -> str:
    """The common start of the ids of one batch's readings; the same for a repeated batch."""
    return hex_digits(NEAR) if batch_key is None else _digest(batch_key)[:NEAR]


def announcement_key(reading: Reading) -> str:
    """The key that identifies the announcement of a reading that may be repeated; else ""."""
    if reading.source_digest is None:
        return ""
    return f"{reading.received_ms}_{reading.source_digest}_{reading.device_id}"


class Timing(NamedTuple):
    """How the dates of a post are read.

    `shift_ms` is added to each; `unknown` means that the device's clock may be wrong; `present`
    means that the post is about now.
    """

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
    digest: str | None = None,
    timing: Timing = AS_DATED,
) -> Reading:
    """The reading as it is stored, with the command that answers it.

    `digest` is its own digest if the caller has it already.
    """
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
    # Python makes calls with more than 15 keyword arguments three times slower.
    reading = Reading(
        tenant_id=tenant_id,
        device_id=device_id,
        timestamp_ms=timestamp_ms,
        received_ms=now_ms,
        temp_tenths=new.temp_tenths,
        setpoint_tenths=setpoint_tenths,
        deadband_tenths=deadband_tenths,
        cool_active=relays.cool,
        heat_active=relays.heat,
        state=relays.state,
        sensor_ok=new.sensor_ok,
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
