"""Bodies and answers of the routes for tokens and displays. Times are Unix milliseconds."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from server.routes.models import DeviceId

TokenState = Literal["valid", "expired", "unopened"]


class NewTokenBody(Struct, forbid_unknown_fields=True):
    """A token to create in the caller's tenant.

    It is valid for `expires_in` seconds, or until it is revoked. Without `zones` it may see all
    zones. A `display` is a wall screen and is read-only.
    """

    name: Annotated[
        str, Meta(max_length=64, extra_json_schema={"pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$"})
    ]
    role: Literal["read-only", "operator"] = "read-only"
    zones: Annotated[list[DeviceId], Meta(max_length=100)] = []
    expires_in: Annotated[int, Meta(ge=1, le=315_360_000)] | None = None
    display: bool = False


class TokenView(Struct):
    """A token without its secret; `unopened` is a display whose link was not used yet.

    `last_used` may be a minute old, and is null if it was never used.
    """

    name: str
    role: str
    tenant_id: str
    display: bool
    zones: list[str]
    state: TokenState
    created_at: int
    created_by: str
    expires_at: int | None
    last_used: int | None


class TokensList(Struct):
    """The tenant's tokens in the order of names; there are at most 500."""

    data: list[TokenView]


class TokenCreated(Struct):
    """The token, and what is shown only now: its `secret`, or the path of a display's `link`."""

    success: bool
    token: TokenView
    secret: str | None = None
    link: str | None = None


class TokenRevoked(Struct):
    """The token is revoked."""

    success: bool


class OpenLink(Struct, forbid_unknown_fields=True):
    """The secret of a display's link: what its address has after the `#`."""

    secret: Annotated[str, Meta(max_length=256)]


class DisplayOpened(Struct):
    """This browser is the display now; its cookie came with this answer."""

    status: Literal["success"]
    display: str
