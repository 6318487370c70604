"""AccountNames: which user names of an imported audit log are accounts."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class AccountNames(msgspec.Struct, frozen=True):
    """The accounts that exist, and what makes a digest of a name that is none."""

    known: set[str]
    hide: Callable[[str], str]

    def shown(self, name: str, success: bool) -> str:
        """The name for an entry: a refused one that is unknown may be a password."""
        return name if success or not name or name in self.known else self.hide(name)
