"""Classifies a caller's address: loopback, trusted proxy, and the group that limits count."""

from __future__ import annotations

import ipaddress

from server.config.parsers import Network


def unmapped(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Parse the address; an IPv4 address in IPv6 form becomes IPv4. Raises ValueError."""
    parsed = ipaddress.ip_address(address)
    return getattr(parsed, "ipv4_mapped", None) or parsed


def is_loopback(host: str) -> bool:
    """Whether a socket that listens on `host` can be reached from this machine only."""
    try:
        return unmapped(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def address_group(address: str) -> str:
    """The addresses of one internet connection: an IPv4 address, or the first 64 bits of IPv6."""
    try:
        parsed = unmapped(address)
    except ValueError:
        return address
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)


def trusts(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether the address belongs to a trusted proxy."""
    try:
        parsed = unmapped(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def is_shared_address(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether many people may connect from this address: a trusted proxy, or this machine."""
    try:
        return unmapped(address).is_loopback or trusts(address, networks)
    except ValueError:
        return False
