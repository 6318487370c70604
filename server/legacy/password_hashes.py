"""Reads the password hashes of the existing server's accounts, as pure functions."""

from __future__ import annotations

import json
import re
from typing import Any

from server.auth.password_rules import HISTORY_MAX
from server.auth.passwords import legacy_hash

FORMER_LEFT = "without former passwords whose hash and salt are not both there"
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_SALT = re.compile(r"(?:[0-9a-fA-F]{2}){16,64}")


def unusable(digest: Any, salt: Any) -> str:
    """Why a hash cannot be used here, in words that fit all such hashes; empty if it can."""
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        return "the password's hash is not one of PBKDF2-SHA256"
    if not isinstance(salt, str) or not _SALT.fullmatch(salt):
        return "the password's salt is not hexadecimal"
    return ""


def former_hashes(value: object) -> tuple[list[str], list[str]]:
    """Return the hashes of former passwords, the latest first, and a note if some are left out.

    The existing server has a JSON list, the latest last. An entry without a salt is of no use.
    """
    try:
        entries = json.loads(value) if isinstance(value, str) and value else []
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list):
        return [], [FORMER_LEFT]
    pairs: list[tuple[Any, Any]] = [
        (one.get("password_hash"), one.get("salt"))
        for one in reversed(entries)
        if isinstance(one, dict)
    ]
    found = [legacy_hash(salt, digest) for digest, salt in pairs if not unusable(digest, salt)]
    return found[:HISTORY_MAX], [] if len(found) == len(entries) else [FORMER_LEFT]
