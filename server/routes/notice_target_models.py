"""Bodies and answers of the routes for notice targets. Times are Unix milliseconds."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from server.alarms.alarm import Severity
from server.alarms.notice_models import MailTls, TargetHours, TargetKind


class NoticeTargetFields(Struct, forbid_unknown_fields=True):
    """A notice target: notices of this `severity` and above, within the `hours` or always.

    A `webhook` or `ntfy` needs `url`; `secret` is the key of the webhook's signature, or ntfy's
    access token. An `email` needs `host`, `port`, `sender` and `recipients`; `secret` is the
    password of `username`. The hours are in the site's time zone. Without a `secret` a changed
    target keeps the one that it has; an empty one removes it.
    """

    name: Annotated[str, Meta(max_length=64, extra_json_schema={"minLength": 1})]
    kind: TargetKind
    enabled: bool = True
    severity: Severity = "warning"
    hours: TargetHours | None = None
    url: Annotated[str, Meta(max_length=2000)] = ""
    host: Annotated[str, Meta(max_length=253)] = ""
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    tls: MailTls = "starttls"
    username: Annotated[str, Meta(max_length=500)] = ""
    sender: Annotated[str, Meta(max_length=254)] = ""
    recipients: Annotated[list[str], Meta(max_length=20)] = []
    secret: Annotated[str, Meta(max_length=500)] | None = None


class NewNoticeTarget(NoticeTargetFields, forbid_unknown_fields=True):
    """A new target; without an `id` it gets a random one."""

    id: Annotated[
        str, Meta(max_length=64, extra_json_schema={"pattern": "^([A-Za-z0-9][A-Za-z0-9._-]*)?$"})
    ] = ""


class NoticeTargetView(Struct):
    """A target without its secret; `secret_set` says whether it has one."""

    id: str
    name: str
    kind: TargetKind
    enabled: bool
    severity: Severity
    hours: TargetHours | None
    url: str
    host: str
    port: int
    tls: MailTls
    username: str
    sender: str
    recipients: list[str]
    secret_set: bool
    created_at: int
    created_by: str
    updated_at: int
    updated_by: str


class NoticeTargetsList(Struct):
    """The tenant's targets by name; there are at most 100."""

    data: list[NoticeTargetView]


class NoticeTargetChanged(Struct):
    """The target as it is stored now."""

    success: bool
    target: NoticeTargetView


class NoticeTargetDeleted(Struct):
    """The target is gone; notices that waited for it are dropped."""

    success: bool


class NoticeTargetTested(Struct):
    """Whether the test notice arrived within ten seconds; if not, `error` says why."""

    delivered: bool
    error: str | None
    took_ms: int
