"""RetentionGuard: decides when retention may delete and how much; no wrong clock can fool it.

A clock that is ahead makes everything look expired. So nothing is deleted for an hour after the
clock leapt, or after a start with a clock that looks wrong: an operator can correct it within that
time. And however wrong the clock is, readings are deleted slowly. They are deleted in spans, each
with the readings of all devices of two hours. An hour of uptime, which cannot be set, earns one
span, and in any day of uptime at most 24 spans are deleted: two days' worth of readings.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from server.common.clock import Clock

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
# Spans that a day of uptime may delete, and the uptime that earns one of them.
SPANS_A_DAY = 24
EARNS_ONE_MS = DAY_MS // SPANS_A_DAY
# How far the clock may be set against uptime before it counts as a leap, and how far it may be
# ahead at a start. After either, nothing is deleted for a while.
LEAP_MS = HOUR_MS
AHEAD_MS = DAY_MS
PAUSE_MS = HOUR_MS
# Two processes that look at once may do so in the other order than they store what they saw.
AT_ONCE_MS = 60_000
# What the clock may be ahead of at a start.
NEWEST, RAN_LAST = "the newest reading", "the time when the server ran last"


class Instant(NamedTuple):
    """One moment on both clocks: uptime on the time line `boot`, and Unix time."""

    boot: str
    uptime_ms: int
    wall_ms: int

    @property
    def booted_ms(self) -> int:
        """When uptime was 0, by the wall clock as it is set now."""
        return self.wall_ms - self.uptime_ms


def instant(clock: Clock) -> Instant:
    """The present moment."""
    return Instant(clock.boot, int(clock.uptime_ms()), clock.now_ms())


class Permission(NamedTuple):
    """Whether anything may be deleted now, and if not, why not."""

    allowed: bool
    why: str


class RetentionGuard(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What must be known of the past to decide. It never changes: each step returns the next one.

    It is stored, so that it outlives restarts: `at` continues it in any process. `spending` is
    stored before the spans are deleted, or in the same transaction, so that a crash between the two
    deletes less and never more. Uptime passes only from one look to the next on the same time line
    `boot`: after a reboot the guard continues with what it had, but the time before the first look
    does not count. Of processes on different time lines (on a system without boot ids) only one may
    use a stored guard.

    `uptime_ms` is the uptime of the last look. `booted_ms` is `Instant.booted_ms` when the clock
    was last believed: it changes with every leap. `ran_ms` is all the uptime that the guard has
    seen, over all boots. `earned_ms` is the part of it that was not spent yet. `deleted` has
    `ran_ms` of each span that was deleted in the last day of uptime, the oldest first.
    """

    boot: str
    uptime_ms: int
    booted_ms: int
    paused_ms: int = 0
    """For how much more uptime nothing may be deleted."""
    why: str = ""
    """The cause of the last pause."""
    ran_ms: int = 0
    earned_ms: int = 0
    deleted: tuple[int, ...] = ()

    @classmethod
    def new(cls, now: Instant) -> RetentionGuard:
        """The guard of a database that has none yet; it has earned nothing."""
        return cls(boot=now.boot, uptime_ms=now.uptime_ms, booted_ms=now.booted_ms)

    @property
    def permission(self) -> Permission:
        """Whether anything may be deleted."""
        return Permission(not self.paused_ms, self.why if self.paused_ms else "")

    @property
    def spans(self) -> int:
        """How many spans of readings may be deleted."""
        if self.paused_ms:
            return 0
        return min(self.earned_ms // EARNS_ONE_MS, SPANS_A_DAY - len(self.deleted))

    def at(self, now: Instant) -> RetentionGuard:
        """The guard after the time that passed until `now`; paused if the clock leapt in it."""
        same_boot = now.boot == self.boot
        passed_ms = max(0, now.uptime_ms - self.uptime_ms) if same_boot else 0
        # Another process may have looked a moment later. If uptime went back further, it is
        # another uptime.
        is_late = same_boot and 0 <= self.uptime_ms - now.uptime_ms < AT_ONCE_MS
        ran_ms = self.ran_ms + passed_ms
        after = msgspec.structs.replace(
            self,
            uptime_ms=self.uptime_ms if is_late else now.uptime_ms,
            paused_ms=max(0, self.paused_ms - passed_ms),
            ran_ms=ran_ms,
            earned_ms=min(self.earned_ms + passed_ms, DAY_MS),
            deleted=tuple(one for one in self.deleted if one > ran_ms - DAY_MS),
        )
        if same_boot:
            leap_ms = now.booted_ms - self.booted_ms
            if abs(leap_ms) <= LEAP_MS:
                # Kept, so that several small steps add up to a leap.
                return after
            direction = "forward" if leap_ms > 0 else "back"
            why = f"the machine's clock was set {direction} by {_length(abs(leap_ms))}"
            return msgspec.structs.replace(after, booted_ms=now.booted_ms)._paused(why)
        after = msgspec.structs.replace(after, boot=now.boot, booted_ms=now.booted_ms)
        return after._unless_ahead(now, self.booted_ms + self.uptime_ms, RAN_LAST)

    def started(self, now: Instant, newest_ms: int | None) -> RetentionGuard:
        """As `at`, for the first look of a process; `newest_ms` is the newest reading's time."""
        after = self.at(now)
        return after if newest_ms is None else after._unless_ahead(now, newest_ms, NEWEST)

    def spending(self, spans: int) -> RetentionGuard:
        """The guard after `spans` were deleted. ValueError if they are more than allowed."""
        if not 0 <= spans <= self.spans:
            raise ValueError(f"{spans} spans, but {self.spans} may be deleted")
        return msgspec.structs.replace(
            self,
            earned_ms=self.earned_ms - spans * EARNS_ONE_MS,
            deleted=self.deleted + (self.ran_ms,) * spans,
        )

    def _unless_ahead(self, now: Instant, other_ms: int, other: str) -> RetentionGuard:
        """This guard; paused if the clock is too far ahead of another time."""
        ahead_ms = now.wall_ms - other_ms
        if ahead_ms <= AHEAD_MS:
            return self
        return self._paused(f"the machine's clock is {_length(ahead_ms)} ahead of {other}")

    def _paused(self, why: str) -> RetentionGuard:
        return msgspec.structs.replace(self, paused_ms=PAUSE_MS, why=why)


def _length(milliseconds: int) -> str:
    """A length of time in words, rounded."""
    if milliseconds < 2 * DAY_MS:
        return f"{milliseconds / HOUR_MS:.1f} hours"
    return f"{round(milliseconds / DAY_MS):,} days"
