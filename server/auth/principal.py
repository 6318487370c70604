"""Principal: who is asking, in which role, for which tenant."""

from __future__ import annotations

import msgspec

from server.services.firestore.models import ROLES, Role

DEFAULT_TENANT = "default"


class Principal(msgspec.Struct, frozen=True):
    """A caller. `session` is the digest of the session it came with, None for nobody in particular.

    Times are Unix milliseconds.
    """

    username: str
    role: Role
    tenant_id: str
    session: str | None = None
    login_time: int = 0
    expire_at: int = 0

    def may(self, role: Role) -> bool:
        """Whether the caller's role is at least `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)

    @property
    def owner(self) -> str | None:
        """What a stream opened by this caller lives by: the session, in the role it has now."""
        return f"{self.session}:{self.role}" if self.session else None


# Everybody, where log-in is switched off.
ANYONE = Principal("anonymous", "admin", DEFAULT_TENANT)
