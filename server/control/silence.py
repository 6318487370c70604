"""When a zone counts as silent. Pure; times are steady ms."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from server.services.firestore.models import ZoneRecord

# The usual period is the median of so many gaps between posts; of a device that posted less often
# than three times it is this long.
GAPS, PERIOD_MS = 8, 60_000
# Silent after so many periods, and no sooner than this.
PERIODS, SILENT_MIN_MS = 3, 10_000
# Gaps are kept in tenths of a second.
TENTH_MS = 100


def gaps_after(zone: ZoneRecord, steady_ms: int) -> list[int]:
    """The zone's gaps after a post at this time; not where another process's time is ahead."""
    gaps, gap_ms = zone.gaps, steady_ms - zone.last_seen_ms
    if not zone.last_seen_ms or gap_ms < 0:
        return gaps
    return [*gaps[1 - GAPS :], gap_ms // TENTH_MS]


def usual_period_ms(zone: ZoneRecord) -> int:
    """How long it usually is from one of the zone's posts to the next."""
    if len(zone.gaps) < 2:
        return PERIOD_MS
    return int(statistics.median(zone.gaps) * TENTH_MS)


def silent_after_ms(zone: ZoneRecord) -> int:
    """After how long without a post the zone is silent."""
    return max(PERIODS * usual_period_ms(zone), SILENT_MIN_MS)


class Listening(NamedTuple):
    """Since when this process listens, and after how long without a post nobody can know what a
    zone's relays are."""

    since_ms: int
    unknown_after_ms: int


def silent_ms(zone: ZoneRecord, steady_ms: int, listening: Listening) -> int:
    """How long nothing was heard of a zone; 0 of one that never posted."""
    return steady_ms - max(zone.last_seen_ms, listening.since_ms) if zone.last_seen_ms else 0
