"""Alarms and targets that tests of notices use."""

from __future__ import annotations

import ipaddress
from typing import Any

from server.alarms.alarm import Alarm, AlarmChange
from server.alarms.notice_models import NoticeTarget

HERE = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def an_alarm(device_id: str = "lab", **about: Any) -> Alarm:
    """An alarm that was raised."""
    fields: dict[str, Any] = {
        "id": f"silent-{device_id}-1",
        "slot": f"silent-{device_id}",
        "number": 1,
        "tenant_id": "default",
        "device_id": device_id,
        "kind": "silent",
        "severity": "critical",
        "state": "active",
        "is_open": True,
        "changed_ms": 1_790_000_000_000,
        "since_ms": 1_789_999_990_000,
        "temp_tenths": 314,
    }
    return Alarm(**{**fields, **about})


def raised(device_id: str = "lab", **about: Any) -> AlarmChange:
    """The change that raised an alarm."""
    return AlarmChange("raised", an_alarm(device_id, **about))


def webhook(url: str, **about: Any) -> NoticeTarget:
    """A target that wants every notice."""
    fields: dict[str, Any] = {
        "tenant_id": "default",
        "target_id": "hook",
        "name": "hook",
        "kind": "webhook",
        "severity": "info",
        "url": url,
    }
    return NoticeTarget(**{**fields, **about})


def mailbox(port: int, **about: Any) -> NoticeTarget:
    """An e-mail target on this machine."""
    fields: dict[str, Any] = {
        "tenant_id": "default",
        "target_id": "mail",
        "name": "mail",
        "kind": "email",
        "severity": "info",
        "host": "127.0.0.1",
        "port": port,
        "tls": "none",
        "sender": "bas@example.com",
        "recipients": ["ann@example.com", "bob@example.com"],
    }
    return NoticeTarget(**{**fields, **about})
