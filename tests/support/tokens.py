"""Makes tokens and displays, and callers that send them."""

from __future__ import annotations

from typing import Any

from bas_server import Container
from server.auth.tokens import NewToken
from server.commands.admin import console
from tests.support.http import AGENT, Caller


async def token(
    container: Container, name: str = "pump", tenant_id: str = "default", **about: Any
) -> str:
    """The secret of a new token; `about` are fields of `NewToken`."""
    new = NewToken(name, **about)
    return (await container.base.auth.tokens.create(console(), tenant_id, new))[1]


async def revoke(container: Container, name: str = "pump", tenant_id: str = "default") -> None:
    """Revoke a token as the command line does."""
    await container.base.auth.tokens.revoke(console(), tenant_id, name)


def sending(container: Container, secret: str, **headers: str) -> Caller:
    """A program that sends this token."""
    sent = {"User-Agent": AGENT, "Authorization": f"Bearer {secret}", **headers}
    return Caller(container.app, headers=sent)


async def program(container: Container, name: str = "pump", **about: Any) -> Caller:
    """A program with a new token; see `token`."""
    return sending(container, await token(container, name, **about))
