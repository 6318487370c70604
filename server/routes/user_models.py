"""Bodies, queries and answers of the routes for accounts. Times are Unix milliseconds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from server.auth.password_rules import PASSWORD_MAX, PASSWORD_MIN
from server.routes.models import Limit
from server.services.firestore.models import Role
from server.services.firestore.users_store import USERNAME

# A password that exists: the rules for new ones may have been others when it was set.
Password = Annotated[str, Meta(max_length=4096)]
# The rules refuse what is outside with an error that says what to do.
FreshPassword = Annotated[
    str,
    Meta(
        max_length=4096,
        extra_json_schema={"minLength": PASSWORD_MIN, "maxLength": PASSWORD_MAX},
    ),
]


class NewUser(Struct):
    """An account to create in the caller's tenant."""

    username: Annotated[
        str, Meta(max_length=256, extra_json_schema={"pattern": rf"^{USERNAME.pattern}$"})
    ]
    password: FreshPassword
    role: Role


class UserPatch(Struct, forbid_unknown_fields=True):
    """What to change; a missing field stays."""

    role: Role | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET


class NewPassword(Struct):
    """The password to set."""

    password: FreshPassword


class PasswordChange(Struct):
    """The caller's own password: as it is, and as it shall be."""

    old_password: Password
    password: FreshPassword


class UsersQuery(Struct):
    """How many accounts, and after which position."""

    limit: Limit = 100
    start_after: Annotated[str, Meta(max_length=4096)] | None = None


class UserView(Struct):
    """An account; `state` says whether it can log in.

    `failures` are the failed log-ins that count now. `locked_until` is set while it is locked.
    """

    username: str
    role: Role
    tenant_id: str
    state: Literal["active", "disabled", "locked"]
    failures: int
    locked_until: int | None
    last_login: int | None
    created_at: int
    updated_at: int


class UsersPage(Struct):
    """Accounts in the order of names; `last_doc_id` continues after them, null at the end."""

    data: list[UserView]
    last_doc_id: str | None
    has_more: bool


class UserChanged(Struct):
    """The account as it is now, and how many of its sessions ended."""

    success: bool
    user: UserView
    sessions_ended: int


class SessionsEnded(Struct):
    """How many sessions ended."""

    success: bool
    sessions_ended: int
