"""What a route's code does not say: its name for clients, a summary, an example.

A route without an `Operation` in one of the tables fails `tests/unit/http/test_openapi.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# A variable in a path of the URL map: `<username>`, `<path:filename>`.
VARIABLE = re.compile(r"<(?:[^:>]*:)?([^>]+)>")
# Who may call a route that `Guard.require_auth` does not guard.
PUBLIC, DEVICE, METRICS, TOKEN_OR_SESSION = "public", "device", "metrics", "metrics or session"
JSON, CSV, TEXT, EVENTS = "application/json", "text/csv", "text/plain", "text/event-stream"
HTML = "text/html"


@dataclass(frozen=True)
class Operation:
    """One route and method as the document and `docs/api/` show it.

    `name` is what a generated client calls it. The curl line of the docs has `body`, `query` and
    `path` (values of the path's variables). `access` is given only for a route without a guard.
    `headers` says what the headers of a good answer mean, `text` what a caller must know besides.
    `body_types` are the types of a body besides JSON. `body_rule` is what its type cannot express,
    as a JSON schema; without an optional one the route does what it does for `{}`.
    """

    name: str
    summary: str
    text: str = ""
    body: Any = None
    query: str = ""
    path: Mapping[str, str] = field(default_factory=dict)
    access: str = ""
    content: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    body_types: tuple[str, ...] = ()
    body_optional: bool = False
    body_rule: Mapping[str, Any] = field(default_factory=dict)


Operations = Mapping[str, Operation]
"""By method and path as in the URL map: "GET /api/users/<username>"."""

# What a parameter means, wherever it has this name.
PARAMETERS = {
    "alarm_id": "The alarm's `id`",
    "action": "Only entries with this action, for example LOGIN_FAILED",
    "device_id": "The device; its name as it posts it",
    "dry_run": "true: change nothing, and say what would change",
    "end": "Until when, Unix ms",
    "history": "true: the stored readings too",
    "hours": "How many hours back from `end`",
    "last_event_id": "The id of the last event that the client has; the header Last-Event-ID wins",
    "lastEventId": "The same as `last_event_id`, which wins",
    "limit": "At most so many",
    "name": "The token's name",
    "names": "false: events carry no `event:` line, for pages that only use `onmessage`",
    "points": "At most so many points",
    "since": "Only what changed then or later, Unix ms",
    "snapshot": "false: no `snapshot` event at the start",
    "state": "Only alarms in this state; open: pending, active and acknowledged ones",
    "start": "From when on, Unix ms",
    "start_after": "The `last_doc_id` of the page before",
    "target_id": "The notice target's id",
    "user": "Only entries of this user name",
    "username": "The account's user name",
    "zone": "Only alarms of this device",
}
