"""Script: a Lua script that Redis runs in one step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any


@dataclass(frozen=True)
class Script:
    """A Lua script and the name that Redis gives it."""

    source: str

    @property
    def sha(self) -> str:
        return sha1(self.source.encode(), usedforsecurity=False).hexdigest()


RunScript = Callable[[Script, Sequence[str], Sequence[Any]], Awaitable[Any]]
"""Run a script with these keys and arguments; return its result. Raises LogUnavailable."""
