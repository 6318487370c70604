"""The events of the live stream that no other answer has, as the document describes them."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from server.alarms.alarm_view import AlarmEvent, AlarmView
from server.control.messages import (
    DeletedEvent,
    SetpointEvent,
    SettingsEvent,
    TelemetryRow,
    ZoneEvent,
    ZoneStatus,
)


class HelloEvent(Struct):
    """The first event: whether the stream continues the client's last one, and the heartbeat in s.

    `reset`: the events since the client's last one are not known any more; a snapshot follows.
    """

    resume: Literal["fresh", "recovered", "reset"]
    ts: int
    heartbeat_s: float


class SnapshotEvent(Struct):
    """Every zone as it is now, and at most 1,000 open alarms of `alarm_count`."""

    zones: list[ZoneStatus]
    alarms: list[AlarmView]
    alarm_count: int


class HeartbeatEvent(Struct):
    """Shows that the stream is alive; `ts` in Unix ms."""

    ts: int


class ByeEvent(Struct):
    """The server is going: reconnect after `retry_ms`."""

    ts: int
    retry_ms: int


class SessionEndEvent(Struct):
    """When the session of this stream ends (Unix ms), and whether use can extend it."""

    ends_at: int
    extendable: bool
    ts: int


EVENTS: dict[str, type[Struct]] = {
    "hello": HelloEvent,
    "snapshot": SnapshotEvent,
    "telemetry": TelemetryRow,
    "setpoint": SetpointEvent,
    "zone": ZoneEvent,
    "settings": SettingsEvent,
    "deleted": DeletedEvent,
    "alarm": AlarmEvent,
    "heartbeat": HeartbeatEvent,
    "session": SessionEndEvent,
    "bye": ByeEvent,
}
