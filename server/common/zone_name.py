"""The name of the site's time zone, for pages; it loads no rules, which take a megabyte."""

from __future__ import annotations

from pathlib import Path

SYSTEM = Path("/etc/localtime")


def zone_name(configured: str, system: Path = SYSTEM) -> str:
    """The IANA name of the site's time zone: the configured one, or the system's; "" if unknown."""
    if configured:
        return configured
    try:
        link = str(system.readlink())
    except OSError:  # no link, but a copy of a zone's file
        return ""
    return link.partition("/zoneinfo/")[2].removeprefix("posix/").removeprefix("right/")
