"""The stored documents of notices: targets, and notices that wait. Times are Unix milliseconds."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from server.alarms.alarm import Alarm, Severity
from server.services.ports.values import Integer, Name

TargetKind = Literal["webhook", "ntfy", "email"]
MailTls = Literal["starttls", "tls", "none"]


# Only shown: `wrong_hours` refuses others, with an error that says what to do.
_DAYS = {"minItems": 1, "uniqueItems": True}
Weekday = Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": 7})]
TimeOfDay = Annotated[str, Meta(extra_json_schema={"pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"})]


class TargetHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hours of a week, in the site's time zone.

    `days` are 1 (Monday) to 7; `start` and `end` are times such as 07:30. An end that is not after
    the start is on the next day, so 22:00 to 06:00 of day 5 ends on Saturday morning.
    """

    days: Annotated[list[Weekday], Meta(extra_json_schema=_DAYS)]
    start: TimeOfDay
    end: TimeOfDay


class NoticeTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where notices of a tenant go: those of this severity and above, in these hours.

    A webhook and ntfy have a `url`; `secret` is the key of the signature, or ntfy's access token.
    E-mail has the other fields; `secret` is the password of `username`.
    """

    tenant_id: Name
    target_id: Name
    name: str
    kind: TargetKind
    enabled: bool = True
    severity: Severity = "warning"
    hours: TargetHours | None = None
    url: str = ""
    host: str = ""
    port: int = 0
    tls: MailTls = "starttls"
    username: str = ""
    sender: str = ""
    recipients: list[str] = []
    secret: str = ""
    created_at: Integer = 0
    created_by: str = ""
    updated_at: Integer = 0
    updated_by: str = ""


class WaitingNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A notice of one change of an alarm to one target, until it is sent or given up.

    It is tried at `due_ms`. While a process tries, `due_ms` is the time at which another one may
    take over. Notices with the same `message` were sent in one message, whose receiver may have it:
    they are sent together again. `left` are the recipients that lack it, if some have it.
    """

    tenant_id: Name
    target_id: Name
    made_ms: Integer
    due_ms: Integer
    attempts: Integer = 0
    message: str = ""
    left: list[str] = []
    error: str = ""
    alarm: Alarm
