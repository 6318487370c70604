"""The caller of a request: name, role, tenant, and the zones that it may see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from server.common.errors import BasError, Forbidden, InvalidField
from server.common.session_end import SessionEnd
from server.services.firestore.models import ROLES, Role

DEFAULT_TENANT = "default"
# In front of a token's digest in the owner of its streams; no session's digest has a colon.
TOKEN_OWNER = "token:"  # noqa: S105 - no secret


class ZoneDenied(Forbidden):
    """The caller's token is limited to other zones; also if this zone does not exist."""

    error = "Access denied to zone"
    code = "ZONE_ACCESS_DENIED"

    def __init__(self) -> None:
        super().__init__(message="the token is limited to some zones")


class Principal(msgspec.Struct, frozen=True):
    """A caller. `session` and `token` are the digests of what it sent, None for what it did not.

    `kind` says what it sent. `end` is when that ends, None if it does not. `login_time` is Unix
    milliseconds. Without `zones` the caller sees all zones of its tenant; only a token can be
    limited.
    """

    username: str
    role: Role
    tenant_id: str
    session: str | None = None
    login_time: int = 0
    end: SessionEnd | None = None
    token: str | None = None
    zones: frozenset[str] = frozenset()
    kind: Literal["session", "token", "display"] = "session"

    def may(self, role: Role) -> bool:
        """Whether the caller's role is at least `role`."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def sees(self, device_id: str) -> bool:
        """Whether the caller may know of this zone."""
        return not self.zones or device_id in self.zones

    def check_zone(self, device_id: str | None) -> None:
        """Raise ZoneDenied unless the caller sees this zone; None stands for all zones."""
        if self.zones and (device_id is None or device_id not in self.zones):
            raise ZoneDenied

    def seen(
        self, devices: Mapping[str | None, str | BasError]
    ) -> dict[str | None, str | BasError]:
        """The devices by name; instead of one that the caller does not see, why it is refused."""
        found = dict(devices)
        for name, device in devices.items():
            try:
                if isinstance(device, str):
                    self.check_zone(device)
            except ZoneDenied as refusal:
                found[name] = refusal
        return found

    def zone(self, device_id: str | None) -> str | None:
        """The zone that a query is about, None for all; a limit to one zone names it.

        Raises ZoneDenied as `check_zone`, and InvalidField if the query must name a zone.
        """
        if device_id is None and self.zones:
            if len(self.zones) > 1:
                raise InvalidField("device_id", "is required: the token is limited to some zones")
            (device_id,) = self.zones
        self.check_zone(device_id)
        return device_id

    @property
    def owner(self) -> str | None:
        """The owner of streams that this caller opens: they end with its session, role or token."""
        if self.token:
            return f"{TOKEN_OWNER}{self.token}"
        return f"{self.session}:{self.role}" if self.session else None


# Every caller, if log-in is switched off.
ANYONE = Principal("anonymous", "admin", DEFAULT_TENANT)
