"""Who sends a post of readings, what its body is, and how a repeat of it is recognised."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from server.auth.principal import Principal
from server.common.errors import BasError
from server.control.rules.posted_body import Posted

Body = Posted | BasError
"""A decoded body, or what is wrong with it."""


class RepeatKey(NamedTuple):
    """The key by which a request's repeat is recognised; `ignored` if the key is invalid."""

    key: str | None = None
    ignored: bool = False


class Sender(NamedTuple):
    """The sender of a post: its device key, or else the user of the session.

    `caller` is an error if the session is not valid. `check_tenant` raises BasError if the request
    names another tenant than its key's. `address` is the sender's address as far as trusted proxies
    report it. `certified` is false if the connection lacks the client certificate that the server
    asks for.
    """

    device_key: str | None = None
    caller: Principal | BasError | None = None
    check_tenant: Callable[[str], None] | None = None
    address: str = ""
    certified: bool = True


NO_KEY, ANY_DEVICE = RepeatKey(), Sender()


def known_caller(caller: Principal | BasError | None) -> Principal | None:
    if isinstance(caller, BasError):
        raise caller
    return caller


def check_tenant(sender: Sender, tenant_id: str) -> None:
    """Raise BasError if the request names another tenant than its key's; "" stands for unknown."""
    if tenant_id and sender.device_key and sender.check_tenant is not None:
        sender.check_tenant(tenant_id)
