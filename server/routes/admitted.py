"""Checks that a caller has a session of a role, where shadow mode and tokens must not do."""

from __future__ import annotations

from server.auth.account_audit import Actor
from server.auth.guard import address
from server.auth.principal import Principal
from server.common.errors import Forbidden, Unauthenticated, Unavailable
from server.config.config import ServerConfig
from server.services.firestore.models import Role


def admitted(config: ServerConfig, principal: Principal, role: Role = "admin") -> Actor:
    """The caller, who needs a session of this role in every mode.

    What shadow mode lets through must not make an account, a key or a token that stays.
    Raises Unavailable, Unauthenticated, Forbidden.
    """
    if not config.auth_on:
        raise Unavailable(
            "Authentication is disabled",
            "AUTH_DISABLED",
            "use the command line instead",
        )
    if principal.token is not None:
        raise Forbidden(message="a token cannot do this: log in")
    if principal.session is None:
        raise Unauthenticated
    if not principal.may(role):
        raise Forbidden(message=f"{principal.role} role cannot perform this action")
    return Actor(principal.username, address(), principal.tenant_id)
