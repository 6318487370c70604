"""What schemathesis must know of this server beyond /openapi.json.

`BAS_SESSION` is the session of its requests, `BAS_SPARE` one of another user for the operations
that end sessions or change the caller's password.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import schemathesis

ENDS_SESSIONS = {"log_out", "change_own_password"}
# Passwords that the rules take: the document cannot say which are too common, or were there before.
_numbers = itertools.count(1000)


@schemathesis.auth(refresh_interval=None)
class Session:
    """Sends a session as a program does."""

    def get(self, case: schemathesis.Case, context: schemathesis.AuthContext) -> str:
        ends = _name(case.operation) in ENDS_SESSIONS
        return os.environ["BAS_SPARE" if ends else "BAS_SESSION"]

    def set(self, case: schemathesis.Case, data: str, context: schemathesis.AuthContext) -> None:
        case.headers = dict(case.headers or {}) | {"X-Session-ID": data}


@schemathesis.hook
def map_query(context: Any, query: dict[str, Any]) -> dict[str, Any]:
    """No invented cursor, and times in their order: a schema cannot express either."""
    if query:
        query.pop("start_after", None)
    start, end = (query or {}).get("start"), (query or {}).get("end")
    if isinstance(start, int) and isinstance(end, int) and start >= end:
        query["start"], query["end"] = end, start + (start == end)
    return query


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """A password that the rules take, where one of a good length is generated."""
    if isinstance(body, dict) and _name(context.operation) not in {"log_in"}:
        text = body.get("password")
        if isinstance(text, str) and 12 <= len(text) <= 128:
            body["password"] = f"{next(_numbers)} lamps in the old harbour"
    return body


def _name(operation: Any) -> str:
    return str(operation.definition.raw.get("operationId", ""))
