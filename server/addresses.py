"""What a caller's address says: whose it is, and for how many people it speaks."""

from __future__ import annotations

import ipaddress

from server.config.config import Network


def unmapped(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address, as IPv4 where a socket for both shows it as IPv6. Raises ValueError."""
    parsed = ipaddress.ip_address(address)
    return getattr(parsed, "ipv4_mapped", None) or parsed


def address_group(address: str) -> str:
    """What one subscriber has: an IPv4 address, or the first 64 bits of an IPv6 address."""
    try:
        parsed = unmapped(address)
    except ValueError:
        return address
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)


def trusts(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether the address is one of a trusted proxy."""
    try:
        parsed = unmapped(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def speaks_for_many(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether connections from there may be many people's: a proxy, or this machine itself."""
    try:
        return unmapped(address).is_loopback or trusts(address, networks)
    except ValueError:
        return False
