"""TargetHealth: when a target may get its next message, and log lines of targets that fail."""

from __future__ import annotations

import logging
import random
from collections import deque

from server.alarms.notice_models import NoticeTarget
from server.common.clock import Clock

log = logging.getLogger(__name__)

# A target gets so many messages at once; then what comes within the window goes out together.
BURST, WINDOW_S = 4, 10.0
FIRST_PAUSE_S, PAUSE_MAX_S = 5.0, 300.0
# Targets that are remembered; one that is forgotten may get its next message at once.
TARGETS_MAX = 1000

TargetKey = tuple[str, str]
"""A target's tenant and id."""


def back_off_s(failures: int) -> float:
    """Seconds until the next attempt after so many failures; random, so that none stay in step."""
    whole = min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 20), PAUSE_MAX_S)
    return whole * random.uniform(0.5, 1)  # noqa: S311 - no secret


class TargetHealth:
    """What this process knows of the targets; all of it may be forgotten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sent: dict[TargetKey, deque[float]] = {}
        self._failing: dict[TargetKey, _Failing] = {}

    def wait_s(self, key: TargetKey) -> float:
        """Seconds until it may get a message, so that many notices become one message."""
        sent = self._sent.get(key)
        if sent is None or len(sent) < BURST:
            return 0.0
        return max(0.0, sent[0] + WINDOW_S - self._clock.monotonic())

    def fails(self, key: TargetKey) -> bool:
        """Whether its last message did not arrive."""
        return key in self._failing

    def pause_s(self, key: TargetKey) -> float:
        """Seconds until the next attempt for a target that fails; 0 if it does not fail."""
        failing = self._failing.get(key)
        return max(0.0, failing.next_at - self._clock.monotonic()) if failing else 0.0

    def sending(self, key: TargetKey) -> None:
        """Note that a message goes out now."""
        while len(self._sent) >= TARGETS_MAX and key not in self._sent:
            del self._sent[next(iter(self._sent))]
        self._sent.setdefault(key, deque(maxlen=BURST)).append(self._clock.monotonic())

    def failed(self, target: NoticeTarget, attempts: int, why: str) -> float:
        """Note a failure; return the seconds until the next attempt."""
        key, now = (target.tenant_id, target.target_id), self._clock.monotonic()
        pause_s = back_off_s(attempts)
        failing = self._failing.get(key)
        if failing is None:
            while len(self._failing) >= TARGETS_MAX:
                del self._failing[next(iter(self._failing))]
            failing = self._failing[key] = _Failing(now)
            log.error(
                "notices to %s do not arrive (%s): look at the target, and send a test when it is"
                " repaired. Attempts go on for a day",
                _said(target),
                why,
            )
        failing.count += 1
        failing.next_at = now + pause_s
        return pause_s

    def worked(self, target: NoticeTarget) -> bool:
        """Note that a message arrived; return whether the target failed before."""
        failing = self._failing.pop((target.tenant_id, target.target_id), None)
        if failing is None:
            return False
        lasted_s = self._clock.monotonic() - failing.since
        log.warning(
            "notices to %s arrive again, after %.0f s and %d failed attempts",
            _said(target),
            lasted_s,
            failing.count,
        )
        return True

    def forget(self, key: TargetKey) -> None:
        """Forget a target that was changed or deleted: what was known is of no use."""
        self._failing.pop(key, None)


class _Failing:
    def __init__(self, since: float) -> None:
        self.since = since
        self.next_at = since
        self.count = 0


def _said(target: NoticeTarget) -> str:
    """A target in a log line: no more of its address than the host."""
    return f"the {target.kind} target {target.name!r} ({target.target_id}) of {target.tenant_id!r}"
