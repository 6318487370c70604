"""The steps of an alarm: each returns the alarm after it. Pure."""

from __future__ import annotations

import hashlib
import re

import msgspec

from server.alarms.alarm import (
    ACTIVE,
    KINDS,
    OPEN,
    Alarm,
    AlarmComment,
    AlarmRelays,
)
from server.alarms.rules import AlarmMoment, Sign
from server.common.errors import Conflict
from server.services.firestore.base import document_id
from server.services.firestore.models import ZoneRecord

SLOT_DIGITS = 24
ALARM_ID = re.compile(rf"[0-9a-f]{{{SLOT_DIGITS}}}-[1-9][0-9]{{0,15}}")
COMMENTS_MAX, COMMENT_CHARS = 20, 500


class AlarmOver(Conflict):
    """The alarm has ended, so it cannot be acknowledged or shelved."""

    error = "The alarm is over"
    code = "ALARM_OVER"


class AlarmPending(Conflict):
    """The alarm waits for the end of its delay, so it cannot be acknowledged."""

    error = "The alarm is not active yet"
    code = "ALARM_PENDING"


class TooManyComments(Conflict):
    """The alarm has COMMENTS_MAX comments."""

    error = "Too many comments"
    code = "TOO_MANY_COMMENTS"


def slot_id(tenant_id: str, device_id: str, kind: str) -> str:
    """What all alarms of a tenant, zone and kind share; it may stand in a path as it is."""
    parts = document_id(tenant_id, device_id, kind)
    return hashlib.sha256(parts.encode()).hexdigest()[:SLOT_DIGITS]


def begun(
    key: tuple[str, str, str], number: int, sign: Sign, moment: AlarmMoment, delay_ms: int = 0
) -> Alarm:
    """A new alarm of this tenant, zone (or "") and kind: pending if it has a delay."""
    tenant_id, device_id, kind = key
    slot = slot_id(*key)
    return Alarm(
        id=f"{slot}-{number}",
        slot=slot,
        number=number,
        tenant_id=tenant_id,
        device_id=device_id,
        kind=kind,
        severity=KINDS[kind],
        state="pending" if delay_ms else "active",
        is_open=True,
        changed_ms=moment.now_ms,
        since_ms=sign.since_ms or moment.now_ms,
        active_ms=0 if delay_ms else moment.now_ms,
        limit_tenths=sign.limit_tenths,
        reason=sign.reason,
        boot=moment.boot if delay_ms else "",
        pending_uptime_ms=moment.uptime_ms if delay_ms else 0,
        delay_ms=delay_ms,
    )


def of_zone(alarm: Alarm, zone: ZoneRecord, setpoint_tenths: int | None = None) -> Alarm:
    """The alarm with the zone's temperature and relays as they are now."""
    return msgspec.structs.replace(
        alarm,
        temp_tenths=zone.temp_tenths,
        setpoint_tenths=alarm.setpoint_tenths if setpoint_tenths is None else setpoint_tenths,
        relays=AlarmRelays(zone.cool, zone.heat, zone.relays_known),
    )


def activated(alarm: Alarm, moment: AlarmMoment) -> Alarm:
    """A pending alarm at the end of its delay."""
    now_ms = moment.now_ms
    return msgspec.structs.replace(
        alarm,
        state="active",
        changed_ms=now_ms,
        active_ms=now_ms,
        boot="",
        pending_uptime_ms=0,
        delay_ms=0,
    )


def delayed(alarm: Alarm, moment: AlarmMoment, delay_ms: int) -> Alarm:
    """A pending alarm whose delay begins again."""
    return msgspec.structs.replace(
        alarm,
        changed_ms=moment.now_ms,
        boot=moment.boot,
        pending_uptime_ms=moment.uptime_ms,
        delay_ms=delay_ms,
    )


def cleared(alarm: Alarm, moment: AlarmMoment, keep_ms: int) -> Alarm:
    """The alarm at its end; it is kept as history for `keep_ms`."""
    return msgspec.structs.replace(
        alarm,
        state="cleared",
        is_open=False,
        changed_ms=moment.now_ms,
        cleared_ms=moment.now_ms,
        expire_at=moment.now_ms + keep_ms,
    )


def acknowledged(alarm: Alarm, by: str, moment: AlarmMoment) -> Alarm:
    """The alarm after a user has seen it; the same alarm if one has already.

    Raises AlarmOver, AlarmPending.
    """
    if alarm.state == "acknowledged":
        return alarm
    if alarm.state == "pending":
        raise AlarmPending
    if alarm.state not in ACTIVE:
        raise AlarmOver
    return msgspec.structs.replace(
        alarm,
        state="acknowledged",
        changed_ms=moment.now_ms,
        acknowledged_by=by,
        acknowledged_ms=moment.now_ms,
    )


def shelved(alarm: Alarm, by: str, until_ms: int, moment: AlarmMoment) -> Alarm:
    """The alarm without notices until `until_ms`; 0 takes it off its shelf. Raises AlarmOver."""
    if alarm.state not in OPEN:
        raise AlarmOver
    if alarm.shelved_until_ms == until_ms:
        return alarm
    return msgspec.structs.replace(
        alarm,
        changed_ms=moment.now_ms,
        shelved_by=by if until_ms else "",
        shelved_until_ms=until_ms,
        shelf_boot=moment.boot if until_ms else "",
        shelf_booted_ms=moment.booted_ms if until_ms else 0,
    )


def commented(alarm: Alarm, by: str, text: str, moment: AlarmMoment) -> Alarm:
    """The alarm with one more comment; the same alarm if this user's last one is the same.

    Raises TooManyComments.
    """
    own = [one.text for one in alarm.comments if one.by == by]
    if own and own[-1] == text:
        return alarm
    if len(alarm.comments) >= COMMENTS_MAX:
        raise TooManyComments
    comment = AlarmComment(moment.now_ms, by, text)
    return msgspec.structs.replace(
        alarm, changed_ms=moment.now_ms, comments=[*alarm.comments, comment]
    )
