"""The caller of a request: name, role and tenant."""

from __future__ import annotations

import msgspec

from server.common.session_end import SessionEnd
from server.services.firestore.models import ROLES, Role

DEFAULT_TENANT = "default"


class Principal(msgspec.Struct, frozen=True):
    """A caller. `session` is the digest of its session, None without one; so is the session's end.

    `login_time` is Unix milliseconds.
    """

    username: str
    role: Role
    tenant_id: str
    session: str | None = None
    login_time: int = 0
    end: SessionEnd | None = None

    def may(self, role: Role) -> bool:
        """Whether the caller's role is at least `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)

    @property
    def owner(self) -> str | None:
        """The owner of streams that this caller opens: they end with the session or its role."""
        return f"{self.session}:{self.role}" if self.session else None


# Every caller, if log-in is switched off.
ANYONE = Principal("anonymous", "admin", DEFAULT_TENANT)
