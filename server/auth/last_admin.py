"""Keeps the last active admin of a tenant, and of the site, also against requests at once."""

from __future__ import annotations

from server.common.errors import Conflict
from server.services.firestore.models import User
from server.services.firestore.users_store import UsersStore
from server.services.ports.documents import Update


class LastAdmin(Conflict):
    """After the change, a tenant or the site would have no active admin."""

    error = "Last admin"
    code = "LAST_ADMIN"

    def __init__(self, user: User) -> None:
        where = f"tenant {user.tenant_id}" if user.tenant_id else "the site"
        super().__init__(
            message=f"{user.username} is the last active admin of {where}:"
            " make or enable another admin there first"
        )


async def witness(users: UsersStore, user: User, after: User | None) -> list[Update]:
    """The writes that go with a change of `user` to `after` (None: deleted), if it needs any.

    A change that takes an admin away names another one by its version. So of two requests at once,
    each with the other's account as its witness, the second one fails, and decides again. Raises
    LastAdmin.
    """
    if not _is_active_admin(user):
        return []
    stays = after is not None and _is_active_admin(after)
    if stays and after is not None and after.tenant_id == user.tenant_id:
        return []
    # An account without a tenant administers none: only the site may miss it, as an admin.
    if stays and not user.tenant_id:
        return []
    for other, version in await users.active_admins():
        same = not user.tenant_id or other.tenant_id == user.tenant_id
        if same and other.username != user.username:
            return [users.unchanged(other, version)]
    raise LastAdmin(user)


def _is_active_admin(user: User) -> bool:
    return user.role == "admin" and not user.disabled
