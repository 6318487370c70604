"""Makes one message of one or many notices: a title, lines for people, JSON for programs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from server.alarms.alarm import MANY, SEVERITIES, Alarm
from server.alarms.targets.wanted import local_time

# Bytes of a message; ntfy makes a file of a longer text.
MESSAGE_MAX, NTFY_MAX = 64 * 1024, 4000
# Room for what surrounds the notices in JSON, and for the line that counts the rest.
HEAD_ROOM, COUNT_ROOM = 4096, 300
TEXT_MAX = 120

KIND_WORDS = {
    "silent": "silent: no reading comes",
    "fault": "sensor fault",
    "high": "too warm",
    "low": "too cold",
    "stuck": "the temperature does not change",
    "refused": "its readings are refused",
    "device_key_refused": "its device key is refused",
    "short_cycling": "the cooler switches too often",
    "long_running": "the cooler runs for very long",
    "store_away": "readings cannot be stored",
    "disk_nearly_full": "the disk is nearly full",
    "clock_wrong": "the server's clock is wrong",
    "notice_failed": "notices did not arrive",
    "test": "this is a test",
}


class ZoneNow(NamedTuple):
    """A zone at the time of sending: its name and location, if it has some, and its relays."""

    name: str = ""
    location: str = ""
    cool: bool = False
    heat: bool = False
    relays_known: bool = False


class NoticeItem(NamedTuple):
    """One notice of a message: its id, the alarm as it was, and its zone as it is now."""

    id: str
    alarm: Alarm
    zone: ZoneNow | None


class NoticeMessage(NamedTuple):
    """What is sent to one target: JSON of at most MESSAGE_MAX bytes, and the same as text.

    `severity` is the highest one of all notices, `more` how many are only counted in the JSON.
    """

    id: str
    title: str
    lines: Sequence[str]
    severity: str
    body: bytes
    more: int
    at_ms: int


def message_id(notice_ids: Sequence[str]) -> str:
    """The id of the message of these notices: the same ones always get the same id."""
    if len(notice_ids) == 1:
        return notice_ids[0]
    return hashlib.sha256("\n".join(sorted(notice_ids)).encode()).hexdigest()[:32]


def message_of(
    items: Sequence[NoticeItem], now_ms: int, timezone: str, own_id: str = ""
) -> NoticeMessage:
    """One message of these notices (at least one), the most serious first.

    Without an id it gets that of the notices.
    """
    ordered = sorted(items, key=lambda one: (-_rank(one), one.alarm.changed_ms, one.id))
    lines = [_line(one, timezone) for one in ordered]
    title = lines[0] if len(lines) == 1 else f"{len(lines)} notices, the first: {lines[0]}"
    title = _cut(title, 2 * TEXT_MAX)
    own_id = own_id or message_id([one.id for one in items])
    about = {
        "id": own_id,
        "tenant_id": ordered[0].alarm.tenant_id,
        "sent_ms": now_ms,
        "title": title,
    }
    shown: list[msgspec.Raw] = []
    room = MESSAGE_MAX - HEAD_ROOM
    for one, line in zip(ordered, lines, strict=True):
        encoded = msgspec.json.encode(_fields(one, line))
        room -= len(encoded) + 1
        if room < 0:
            break
        shown.append(msgspec.Raw(encoded))
    more = len(ordered) - len(shown)
    body = msgspec.json.encode({**about, "notices": shown, "more": more})
    highest = SEVERITIES[_rank(ordered[0])]
    return NoticeMessage(own_id, title, lines, highest, body, more, now_ms)


def text_of(message: NoticeMessage, most: int) -> str:
    """The message's lines in at most `most` bytes of UTF-8; the rest of them is counted."""
    end = f"\nNotice {message.id}"
    room = most - len(end) - COUNT_ROOM
    shown: list[str] = []
    for line in message.lines:
        room -= len(line.encode()) + 1
        if room < 0:
            break
        shown.append(line)
    rest = len(message.lines) - len(shown)
    if rest:
        shown.append(f"and {rest} more: the server's list of alarms has them all")
    return "\n".join(shown) + "\n" + end


def _rank(item: NoticeItem) -> int:
    return SEVERITIES.index(item.alarm.severity)


def _fields(item: NoticeItem, line: str) -> Mapping[str, Any]:
    alarm, zone = item.alarm, item.zone
    relays = None
    if zone is not None and zone.relays_known:
        relays = {"cool": zone.cool, "heat": zone.heat}
    return {
        "id": item.id,
        "alarm_id": alarm.id,
        "kind": alarm.kind,
        "severity": alarm.severity,
        "state": alarm.state,
        "device_id": alarm.device_id or None,
        "name": (zone.name if zone else "") or None,
        "location": (zone.location if zone else "") or None,
        "zones": alarm.zones or None,
        "temp_tenths": alarm.temp_tenths,
        "limit_tenths": alarm.limit_tenths,
        "setpoint_tenths": alarm.setpoint_tenths,
        "reason": alarm.reason or None,
        "since_ms": alarm.since_ms,
        "changed_ms": alarm.changed_ms,
        "relays": relays,
        "text": line,
    }


def _line(item: NoticeItem, timezone: str) -> str:
    """A notice in one line: what, where, the value, since when, and what the relays do now."""
    alarm, zone = item.alarm, item.zone
    over = alarm.state == "cleared"
    head = "OVER" if over else alarm.severity.upper()
    parts = [f"{head}: {_subject(item)}{_words(alarm)}"]
    if alarm.temp_tenths is not None:
        limit = f" (limit {_celsius(alarm.limit_tenths)})" if alarm.limit_tenths is not None else ""
        parts.append(f"{_celsius(alarm.temp_tenths)}{limit}")
    until = f" until {_time(alarm.cleared_ms or alarm.changed_ms, timezone)}" if over else ""
    parts.append(f"since {_time(alarm.since_ms, timezone)}{until}")
    if zone is not None:
        parts.append(_relays(zone))
    return "; ".join(parts)


def _subject(item: NoticeItem) -> str:
    alarm = item.alarm
    if not alarm.device_id:
        return f"{alarm.zones} zones " if alarm.zones else ""
    zone = item.zone or ZoneNow()
    named = (
        f"{_flat(zone.name)} ({_flat(alarm.device_id)})" if zone.name else _flat(alarm.device_id)
    )
    return f"{named}{f', {_flat(zone.location)}' if zone.location else ''}: "


def _words(alarm: Alarm) -> str:
    kind = alarm.kind.removeprefix(MANY)
    reason = f" ({_flat(alarm.reason)})" if alarm.reason else ""
    return KIND_WORDS.get(kind, kind) + reason


def _relays(zone: ZoneNow) -> str:
    if not zone.relays_known:
        return "the relays are not known"
    return f"cooler {'on' if zone.cool else 'off'}, heat {'on' if zone.heat else 'off'}"


def _celsius(tenths: int) -> str:
    return f"{tenths / 10:.1f} °C"


def _time(at_ms: int, timezone: str) -> str:
    return f"{local_time(at_ms, timezone):%Y-%m-%d %H:%M:%S %Z}"


def _flat(text: str) -> str:
    """A text that others chose, as part of one line."""
    return _cut("".join(char if char.isprintable() else "?" for char in text), TEXT_MAX)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
