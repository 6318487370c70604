"""When a zone counts as silent. Pure; times are steady ms."""

from __future__ import annotations

from typing import NamedTuple

from server.services.firestore.models import ZoneRecord

# The usual period is the median of this many gaps between posts; PERIOD_MS before the third post.
GAPS, PERIOD_MS = 8, 60_000
# A zone is silent after this many periods, and no sooner than this.
PERIODS, SILENT_MIN_MS = 3, 10_000
# Gaps are kept in tenths of a second.
TENTH_MS = 100


def gaps_after(zone: ZoneRecord, steady_ms: int) -> list[int]:
    """The zone's gaps after a post at this time; unchanged if another process's time is ahead."""
    gaps, gap_ms = zone.gaps, steady_ms - zone.last_seen_ms
    if not zone.last_seen_ms or gap_ms < 0:
        return gaps
    return [*gaps[1 - GAPS :], gap_ms // TENTH_MS]


def usual_period_ms(zone: ZoneRecord) -> int:
    """The usual time between two of the zone's posts."""
    if len(zone.gaps) < 2:
        return PERIOD_MS
    # Importing `statistics` for its median would cost each process a megabyte.
    gaps = sorted(zone.gaps)
    middle = len(gaps) // 2
    return (gaps[middle] + gaps[~middle]) * TENTH_MS // 2


def silent_after_ms(zone: ZoneRecord) -> int:
    """The time without a post after which the zone is silent."""
    return max(PERIODS * usual_period_ms(zone), SILENT_MIN_MS)


class Listening(NamedTuple):
    """Since when this process listens, and after how long a silence a zone's relays are unknown."""

    since_ms: int
    unknown_after_ms: int


def silent_ms(zone: ZoneRecord, steady_ms: int, listening: Listening) -> int:
    """How long the zone has been silent; 0 if it never posted."""
    return steady_ms - max(zone.last_seen_ms, listening.since_ms) if zone.last_seen_ms else 0
