"""Bodies and answers of the routes for alarms. Times are Unix milliseconds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from server.alarms.alarm_view import AlarmView
from server.routes.models import Limit, Milliseconds

SHELF_MAX_S = 30 * 86_400
# Only shown: the view refuses others. No control characters but tabs and ends of lines, and not
# only white space.
_TEXT = r"[^\x00-\x08\x0b-\x1f]*"
_SEEN = r"[^\x00-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
REMARK = f"^{_TEXT}{_SEEN}{_TEXT}$"


class AlarmsQuery(Struct):
    """Which alarms; without `state` all, `open`: pending, active and acknowledged ones.

    Those of a zone, and those that changed at `since` or later; `start_after` is the `last_doc_id`
    of the page before. An empty text is the same as none.
    """

    state: Literal["", "open", "pending", "active", "acknowledged", "cleared"] = ""
    zone: Annotated[str, Meta(max_length=128)] = ""
    since: Milliseconds | None = None
    limit: Limit = 100
    start_after: Annotated[str, Meta(max_length=1024)] = ""


class AlarmsPage(Struct):
    """Alarms, the last changed first."""

    data: list[AlarmView]
    last_doc_id: str | None
    has_more: bool


class AcknowledgeBody(Struct, forbid_unknown_fields=True):
    """Nothing need be said."""


class ShelveBody(Struct, forbid_unknown_fields=True):
    """For how many seconds the alarm sends no notices; 0 ends that at once."""

    seconds: Annotated[int, Meta(ge=0, le=SHELF_MAX_S)]


class CommentBody(Struct, forbid_unknown_fields=True):
    """A remark of 1 to 500 characters."""

    text: Annotated[str, Meta(min_length=1, max_length=500, extra_json_schema={"pattern": REMARK})]
