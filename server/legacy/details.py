"""The details of the existing server's audit entries, as this server may store them."""

from __future__ import annotations

import json
import math
from typing import Any

TEXT_MAX = 256
DETAILS_DEPTH_MAX = 8
# The existing server's audit log has the ids of some sessions in clear text.
SECRETS = {"session_id"}


def readable_details(value: object) -> dict[str, Any]:
    """Return an entry's details without secrets. Raises ValueError if unreadable or too deep."""
    if value is None or value == "":
        return {}
    if not isinstance(value, str):
        raise ValueError("not a text")
    try:
        found = _storable(json.loads(value, parse_constant=str), DETAILS_DEPTH_MAX)
    except RecursionError:
        raise ValueError("too deep") from None
    if isinstance(found, dict):
        return found
    return {} if found is None else {"value": found}


def _storable(value: Any, depth: int) -> Any:
    """Return a JSON value that every store accepts: numbers beyond 64 bits become text."""
    if depth == 0:
        raise ValueError("too deep")
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case bool() | None:
            return value
        case int():
            return value if -(2**63) <= value < 2**63 else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case list():
            return [_storable(inner, depth - 1) for inner in value]
    if any(len(name) > TEXT_MAX for name in value):
        raise ValueError("a name is too long")
    return {
        name.encode("utf-8", "replace").decode(): _storable(inner, depth - 1)
        for name, inner in value.items()
        if name.lower() not in SECRETS
    }
