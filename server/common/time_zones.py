"""The rules of time zones, from the newer of two sources: the system's and the package tzdata's."""

from __future__ import annotations

import zoneinfo
from functools import cache
from pathlib import Path


def time_zone(name: str) -> zoneinfo.ZoneInfo:
    """A time zone by its IANA name. Raises ZoneInfoNotFoundError, ValueError or OSError.

    `zoneinfo` alone would always prefer the system's rules, and a system that nobody updates has
    old ones: in 2026 Debian 12 has those of 2025, from before Vancouver and Casablanca changed.
    """
    _prefer_newer_rules()
    return zoneinfo.ZoneInfo(name)


@cache
def _prefer_newer_rules() -> None:
    import tzdata  # type: ignore[import-untyped]

    newest = max((_version(Path(folder)) for folder in zoneinfo.TZPATH), default="")
    if newest < tzdata.IANA_VERSION:
        zoneinfo.reset_tzpath(to=[])
        zoneinfo.ZoneInfo.clear_cache()


def _version(folder: Path) -> str:
    """The release of a folder's rules, such as 2025b; empty if the folder does not say."""
    try:
        with (folder / "tzdata.zi").open(encoding="utf-8", errors="replace") as rules:
            words = rules.readline(100).split()
    except OSError:
        return ""
    return words[2] if words[:2] == ["#", "version"] and len(words) == 3 else ""
