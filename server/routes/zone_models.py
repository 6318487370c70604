"""Bodies, queries and answers of the routes of zones. Times are Unix ms."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from server.routes.models import Limit, Milliseconds
from server.services.history.measured import TEMP_MAX, TEMP_MIN

ZoneText = Annotated[
    str,
    Meta(
        max_length=80,
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$(?!\n)",
        description="up to 80 printable characters",
    ),
]


Threshold = Annotated[
    int,
    Meta(
        ge=TEMP_MIN,
        le=TEMP_MAX,
        description="tenths of °C beyond which the zone has an alarm",
    ),
]


class ZonesQuery(Struct):
    """How many zones; `start_after` is the `next` of the page before."""

    limit: Limit = 1000
    start_after: Annotated[str, Meta(max_length=1024)] = ""


class ZonePatch(Struct):
    """What to set; a missing field stays, and at least one is needed.

    Null or "" clears a text. A threshold is in tenths of °C; null stands for the site's.
    With `version`, only the settings of this version are changed; else the answer is 409.
    """

    name: ZoneText | UnsetType | None = UNSET
    location: ZoneText | UnsetType | None = UNSET
    high_tenths: Threshold | UnsetType | None = UNSET
    low_tenths: Threshold | UnsetType | None = UNSET
    version: Milliseconds | None = None


class ZoneView(Struct):
    """A zone: what operators say of it, and what is known of its device.

    `high_tenths` and `low_tenths` are its own thresholds for alarms, null for the site's.
    `version` is that of its settings, 0 if it never had any. `received` is when its newest present
    reading came, null for never; `trust_state` is its trust as it was stored last.
    """

    device_id: str
    name: str | None
    location: str | None
    high_tenths: int | None
    low_tenths: int | None
    version: int
    has_key: bool
    received: int | None
    trust_state: Literal["never", "ok", "suspect", "silent", "stuck", "refused", "fault"]


class ZonesPage(Struct):
    """A page of zones in a fixed order; `next` begins the next page, null at the end."""

    zones: list[ZoneView]
    next: str | None


class DeletionQuery(Struct):
    """With `history` the zone's readings are deleted too."""

    history: bool = False


class LastCommand(Struct):
    """What a zone's device was commanded last; it stays so until its next post.

    If `relays_known` is false, the state of its relays is unknown.
    """

    cool_active: bool
    heat_active: bool
    relays_known: bool


class ZoneDeleted(Struct):
    """The zone is deleted, and about so many of its readings.

    `commanded` is null if it never posted. With `history_left` there are more readings than could
    be deleted in one call: the same call deletes more.
    """

    success: bool
    device_id: str
    commanded: LastCommand | None
    readings_deleted: int
    history_left: bool


class ImportQuery(Struct):
    """With `dry_run` nothing is changed: the answer says what would change."""

    dry_run: bool = False


class ZonesFile(Struct):
    """The text of a CSV file: its first line names the columns, at least `device_id`.

    The others are `name`, `location`, `setpoint_c`, `deadband_c`, `high_c` and `low_c`. A column
    that is missing changes nothing, an empty cell clears all but setpoint and deadband.
    """

    csv: Annotated[str, Meta(max_length=2_000_000)]
