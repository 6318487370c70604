"""What callers see of alarms: answers and stream events. Times are Unix ms, temperatures tenths."""

from __future__ import annotations

from typing import Any

import msgspec

from server.alarms.alarm import Alarm, AlarmChange


class CommentView(msgspec.Struct, frozen=True):
    """A user's remark about an alarm."""

    at: int
    by: str
    text: str


class AlarmView(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm; `device_id` is null for one of the site, which may stand for `zones` zones.

    `state` is pending, active, acknowledged or cleared. `since` is when its condition began,
    `active` when its delay was over, `changed` when it changed last. The temperature, its limit,
    the setpoint and the relays are those at the last step; if `relays_known` is false, the relays
    are the last command. Until `shelved_until` it sends no notices.
    """

    id: str
    device_id: str | None
    kind: str
    severity: str
    state: str
    since: int
    active: int | None
    changed: int
    cleared: int | None
    reason: str | None
    zones: int | None
    temp_tenths: int | None
    limit_tenths: int | None
    setpoint_tenths: int | None
    cool_active: bool | None
    heat_active: bool | None
    relays_known: bool | None
    acknowledged_by: str | None
    acknowledged: int | None
    shelved_by: str | None
    shelved_until: int | None
    comments: list[CommentView]


class AlarmEvent(AlarmView, frozen=True, kw_only=True):
    """An alarm after a step: pending, raised, dropped (its condition ended before the delay),
    cleared, acknowledged, shelved, unshelved or commented."""

    step: str


def alarm_view(alarm: Alarm) -> AlarmView:
    """An alarm as clients see it."""
    return AlarmView(**_fields(alarm))


def alarm_event(change: AlarmChange) -> AlarmEvent:
    """The event of a step; a dropped alarm is shown as cleared."""
    fields = _fields(change.alarm)
    if change.step == "dropped":
        fields["state"] = "cleared"
    return AlarmEvent(step=change.step, **fields)


def _fields(alarm: Alarm) -> dict[str, Any]:
    relays = alarm.relays
    return {
        "id": alarm.id,
        "device_id": alarm.device_id or None,
        "kind": alarm.kind,
        "severity": alarm.severity,
        "state": alarm.state,
        "since": alarm.since_ms,
        "active": alarm.active_ms or None,
        "changed": alarm.changed_ms,
        "cleared": alarm.cleared_ms or None,
        "reason": alarm.reason or None,
        "zones": alarm.zones or None,
        "temp_tenths": alarm.temp_tenths,
        "limit_tenths": alarm.limit_tenths,
        "setpoint_tenths": alarm.setpoint_tenths,
        "cool_active": relays.cool if relays else None,
        "heat_active": relays.heat if relays else None,
        "relays_known": relays.known if relays else None,
        "acknowledged_by": alarm.acknowledged_by or None,
        "acknowledged": alarm.acknowledged_ms or None,
        "shelved_by": alarm.shelved_by or None,
        "shelved_until": alarm.shelved_until_ms or None,
        "comments": [CommentView(one.at_ms, one.by, one.text) for one in alarm.comments],
    }
