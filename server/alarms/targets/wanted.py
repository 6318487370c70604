"""Decides which targets get a notice: by severity and by hours, which are the site's."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from server.alarms.alarm import SEVERITIES, Severity
from server.alarms.notice_models import NoticeTarget, TargetHours
from server.common.time_zones import time_zone

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def local_time(now_ms: int, timezone: str) -> datetime:
    """A time in the zone with this IANA name; an empty name is the system's zone."""
    at = datetime.fromtimestamp(now_ms / 1000, UTC)
    return at.astimezone(time_zone(timezone) if timezone else None)


def wants(target: NoticeTarget, severity: Severity, at: datetime) -> bool:
    """Whether the target gets a notice of this severity at this local time."""
    if not target.enabled or SEVERITIES.index(severity) < SEVERITIES.index(target.severity):
        return False
    return target.hours is None or within(target.hours, at)


def within(hours: TargetHours, at: datetime) -> bool:
    """Whether the local time is in these hours."""
    time, today = f"{at:%H:%M}", at.isoweekday()
    if hours.start < hours.end:
        return today in hours.days and hours.start <= time < hours.end
    yesterday = (today - 2) % 7 + 1
    begun = today in hours.days and time >= hours.start
    return begun or (yesterday in hours.days and time < hours.end)


def wrong_hours(hours: TargetHours) -> str:
    """What is wrong with these hours; empty if nothing is."""
    days = hours.days
    if not days or len(set(days)) != len(days) or not set(days) <= set(range(1, 8)):
        return "days are 1 (Monday) to 7 (Sunday), each once"
    if not all(_TIME.fullmatch(time) for time in (hours.start, hours.end)):
        return "start and end are times from 00:00 to 23:59"
    return ""
