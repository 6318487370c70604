"""What an alarm is, and what other parts learn of it: plain data.

Temperatures are tenths of °C. Times that end in `_ms` are Unix milliseconds of the site's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from server.services.ports.documents import Write
from server.services.ports.values import Integer, Name

Severity = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")

AlarmState = Literal["pending", "active", "acknowledged", "cleared"]
"""A zone and kind without an alarm is normal. A pending alarm waits for the end of its delay."""
OPEN: tuple[AlarmState, ...] = ("pending", "active", "acknowledged")
ACTIVE: tuple[AlarmState, ...] = ("active", "acknowledged")

AlarmStep = Literal[
    "pending",
    "raised",
    "dropped",
    "cleared",
    "acknowledged",
    "shelved",
    "unshelved",
    "commented",
]
"""What happened to an alarm. A pending one that ends before its delay is `dropped`."""

# The kinds of a zone, each with its severity.
ZONE_KINDS: dict[str, Severity] = {
    "silent": "critical",
    "fault": "critical",
    "high": "critical",
    "low": "critical",
    "stuck": "warning",
    "refused": "warning",
    "device_key_refused": "warning",
    "short_cycling": "warning",
    "long_running": "info",
}
# One alarm of the site instead of one for each zone: each for a state of trust.
MANY = "many_"
FAMILIES = ("silent", "fault", "stuck", "refused")
MANY_KINDS: dict[str, Severity] = {f"{MANY}{family}": ZONE_KINDS[family] for family in FAMILIES}
# Of the server itself; they belong to the tenant `default`, except `notice_failed`.
SITE_KINDS: dict[str, Severity] = {
    "store_away": "critical",
    "disk_nearly_full": "critical",
    "clock_wrong": "warning",
    "notice_failed": "warning",
}
KINDS: dict[str, Severity] = {**ZONE_KINDS, **MANY_KINDS, **SITE_KINDS}


class AlarmComment(msgspec.Struct, frozen=True):
    """A user's remark about an alarm."""

    at_ms: Integer
    by: str
    text: str


class AlarmRelays(msgspec.Struct, frozen=True):
    """A zone's relays at the alarm's last change; not `known`: these are the last command."""

    cool: bool
    heat: bool
    known: bool = True


class Alarm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One occurrence of a condition, from its beginning to its end.

    `slot` is the same for all occurrences of a tenant, zone and kind, and `number` grows from one
    to the next: the id is made of both. `device_id` is empty for an alarm of the site; `zones` is
    then how many zones it stands for. `since_ms` is when the condition began, `active_ms` when the
    delay was over, `changed_ms` when the alarm changed last, each 0 before that.

    `temp_tenths` is the zone's temperature at the last change, `limit_tenths` the threshold that it
    passed. `reason` is a word for the cause, such as the reason of a sensor fault.

    A shelved alarm sends no notice until `shelved_until_ms`, by the clock as it was set when
    uptime on the time line `shelf_boot` was 0 at `shelf_booted_ms`. A pending one becomes active
    `delay_ms` after the uptime `pending_uptime_ms` on the time line `boot`.
    """

    id: Name
    slot: Name
    number: Integer
    tenant_id: Name
    device_id: str = msgspec.field(default_factory=str)
    kind: str
    severity: Severity
    state: AlarmState
    # Stored in every document, because queries filter and order by them.
    is_open: bool
    changed_ms: Integer
    since_ms: Integer
    active_ms: Integer = 0
    cleared_ms: Integer = 0
    temp_tenths: Integer | None = None
    limit_tenths: Integer | None = None
    setpoint_tenths: Integer | None = None
    zones: Integer = 0
    reason: str = ""
    relays: AlarmRelays | None = None
    acknowledged_by: str = ""
    acknowledged_ms: Integer = 0
    shelved_by: str = ""
    shelved_until_ms: Integer = 0
    shelf_boot: str = ""
    shelf_booted_ms: Integer = 0
    comments: list[AlarmComment] = []
    boot: str = ""
    pending_uptime_ms: Integer = 0
    delay_ms: Integer = 0
    expire_at: Integer | None = None

    @property
    def is_shelved(self) -> bool:
        """Whether it sends no notice now: the service removes a shelf that has ended."""
        return bool(self.shelved_until_ms)


class AlarmChange(msgspec.Struct, frozen=True, gc=False):
    """A step of an alarm, with the alarm after it.

    `at_once` says that the alarm is in memory only, since it is about the store itself.
    """

    step: AlarmStep
    alarm: Alarm
    at_once: bool = False

    @property
    def is_notice(self) -> bool:
        """Whether people must learn of it: it was raised, came off its shelf, or is over.

        Of a pending alarm nobody learns, also if a user takes it off its shelf.
        """
        if self.alarm.is_shelved or self.alarm.state == "pending":
            return False
        return self.step in ("raised", "unshelved", "cleared")


class AlarmListener(Protocol):
    """What sends notices."""

    async def documents_for(self, change: AlarmChange) -> Sequence[Write]:
        """The writes (at most 100) that are stored with this change, all or none.

        Called before each attempt to store the change; raises StoreUnavailable.
        """

    def stored(self, change: AlarmChange) -> None:
        """Note that the change and its writes are stored; must not block or raise."""

    def send_at_once(self, change: AlarmChange) -> None:
        """Send notices of a change that cannot be stored; must not block or raise."""


class NoListener(AlarmListener):
    """Sends no notices."""

    async def documents_for(self, change: AlarmChange) -> Sequence[Write]:
        return ()

    def stored(self, change: AlarmChange) -> None:
        pass

    def send_at_once(self, change: AlarmChange) -> None:
        pass


class AlarmReports(Protocol):
    """Where other parts report conditions that are not of a zone."""

    def report(self, tenant_id: str, kind: str, *, is_on: bool, reason: str = "") -> None:
        """Note that a condition of SITE_KINDS is there, or is over; never blocks or raises."""
