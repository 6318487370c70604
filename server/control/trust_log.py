"""Writes a log line for each zone whose trust changes."""

from __future__ import annotations

import logging
from collections import Counter, deque

from server.common.clock import Clock
from server.services.firestore.models import ZoneRecord

log = logging.getLogger(__name__)

# Up to this many zones get a line each; more share one line.
LINES = 3
# A zone that changes to and fro gets at most this many lines a minute; the next line shows its
# state by then.
LINES_A_MINUTE, MINUTE_S = 4, 60.0
# All zones together get this many; what changes after that shares the first line of the next
# minute.
ALL_LINES_A_MINUTE = 10
WAITING_MAX = 10_000

# The effect on the relays, and where to look.
_MEANING = {
    "ok": "its readings decide again",
    "suspect": "such readings change no relay: look at its sensor and its wiring",
    "silent": "its device posts no more: look at its power and its network",
    "stuck": "its device does not obey its commands: look at its relays",
    "refused": "its device's posts are refused, and its relays stay as they are",
    "fault": "both relays are switched off: look at its sensor",
}


class TrustLog:
    """Collects changes of trust; `flush` writes them, about once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed: dict[tuple[str, str], ZoneRecord] = {}
        # When each zone's last lines were written, newest last.
        self._written: dict[tuple[str, str], list[float]] = {}
        self._lines: deque[float] = deque(maxlen=ALL_LINES_A_MINUTE)

    def changed(self, zone: ZoneRecord) -> None:
        """Note that a zone's trust changed."""
        key = zone.tenant_id, zone.device_id
        if key in self._changed or len(self._changed) < WAITING_MAX:
            self._changed[key] = zone

    def flush(self, *, everything: bool = False) -> None:
        """Write the changes.

        A zone that had its lines for this minute waits, unless `everything` is set.
        """
        now = self._clock.monotonic()
        full = len(self._lines) == ALL_LINES_A_MINUTE and self._lines[0] > now - MINUTE_S
        if full and not everything:
            return
        if self._written:
            lately = {
                key: [at for at in times if at > now - MINUTE_S]
                for key, times in self._written.items()
            }
            self._written = {key: times for key, times in lately.items() if times}
        due: list[ZoneRecord] = []
        for key in list(self._changed):
            times = self._written.get(key, [])
            if everything or len(times) < LINES_A_MINUTE:
                due.append(self._changed.pop(key))
                self._written[key] = [*times, now]
        if len(due) <= LINES:
            for zone in due:
                self._lines.append(now)
                _write(zone)
        else:
            self._lines.append(now)
            counts = Counter(zone.trust_state for zone in due)
            said = ", ".join(f"{count} {state}" for state, count in counts.most_common())
            names = ", ".join(repr(zone.device_id) for zone in due[:LINES])
            log.warning("%d zones changed: %s; among them %s", len(due), said, names)


def _write(zone: ZoneRecord) -> None:
    state, reason = zone.trust_state, zone.trust_reason
    meaning = _MEANING.get(state, "no reading came yet")
    if not zone.relays_known:
        meaning = "the state of its relays is unknown until it posts"
        if state == "ok":
            meaning = f"its device did not take the last answer: {meaning}"
    log.log(
        logging.INFO if state == "ok" and zone.relays_known else logging.WARNING,
        "zone %r of tenant %r is %s%s: %s",
        zone.device_id,
        zone.tenant_id,
        state,
        f" ({reason})" if reason else "",
        meaning,
    )
