"""Connects to a notice target's host, at an address that was checked first."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Sequence

from server.common.addresses import trusts, unmapped
from server.config.parsers import Network

# A host may have many addresses; those that do not answer must leave time for the others.
ADDRESSES_MAX, CONNECT_S = 4, 3.0
# IPv6 addresses that a gateway translates to the IPv4 address in their last 32 bits (RFC 6052).
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_TRANSLATED_LOCALLY = ipaddress.ip_network("64:ff9b:1::/48")


class NotSent(Exception):
    """A notice was not sent; the text says why, and names nothing but the host.

    With `unsure` the receiver may have it all the same: its answer did not come. `left` are the
    recipients that do not have it, if some of several have.
    """

    def __init__(self, why: str, *, unsure: bool = False, left: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.unsure = unsure
        self.left = tuple(left)


def may_be_reached(address: str, allowed: tuple[Network, ...]) -> bool:
    """Whether notices may go to an IP address: a public one, or one that a setting allows."""
    try:
        parsed = unmapped(address.partition("%")[0])
    except ValueError:
        return False
    if trusts(str(parsed), allowed):
        return True
    if parsed.is_multicast or parsed in _TRANSLATED_LOCALLY or not parsed.is_global:
        return False
    if isinstance(parsed, ipaddress.IPv4Address):
        return True
    inner = parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
    if parsed in _TRANSLATED:
        inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
    return not parsed.is_site_local and (inner is None or may_be_reached(str(inner), allowed))


async def connected(host: str, port: int, allowed: tuple[Network, ...]) -> socket.socket:
    """A connection to the host. Raises NotSent.

    Its name is resolved once, and the connection goes to an address of that answer: a name server
    that gives another answer a moment later leads nowhere else.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotSent(f"the name {host} was not found: look at the name and at DNS") from None
    reachable = [one for one in found if may_be_reached(str(one[4][0]), allowed)][:ADDRESSES_MAX]
    if not reachable:
        raise NotSent(
            f"{host} leads to a private address: BAS_NOTICE_PRIVATE_ADDRESSES allows some"
        )
    why = ""
    for family, kind, protocol, _, address in reachable:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            async with asyncio.timeout(CONNECT_S):
                await loop.sock_connect(connection, address)
            return connection
        except TimeoutError:
            why = f"no answer in {CONNECT_S:.0f} s"
        except OSError as error:
            why = error.strerror or type(error).__name__
        except BaseException:
            _close(connection)
            raise
        _close(connection)
    raise NotSent(f"no connection to {host} port {port}: {why}")


def _close(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.close()
