"""The id of the request that is being answered: log lines that the request causes show it."""

from __future__ import annotations

import re
from contextvars import ContextVar

current_request: ContextVar[str] = ContextVar("current_request", default="")
"""The id in this task and in all tasks that it starts; "" outside a request."""

_VALID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def is_request_id(text: str) -> bool:
    """Whether a text of a stranger may be an id: short, and without a space, quote or bracket."""
    return _VALID.fullmatch(text) is not None
