"""TrustLog: a line in the log for each zone that is trusted otherwise than before."""

from __future__ import annotations

import logging
from collections import Counter

from server.clock import Clock
from server.services.firestore.models import ZoneRecord

log = logging.getLogger(__name__)

# Of so many zones at once each has its line; more are one line together.
LINES = 3
# A zone that changes to and fro has at most so many lines a minute; then the next one says what it
# is by then.
LINES_A_MINUTE, MINUTE_S = 4, 60.0
WAITING_MAX = 10_000

# What it means for the relays, and what to look at.
_MEANING = {
    "ok": "its readings decide again",
    "suspect": "such readings change no relay: look at its sensor and its wiring",
    "silent": "its device posts no more: look at its power and its network",
    "stuck": "its device does not switch as it is told: look at its relays",
    "refused": "its device's posts are refused, and its relays stay as they are",
    "fault": "both relays are switched off: look at its sensor",
}


class TrustLog:
    """Changes of one second are written together by `flush`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed: dict[tuple[str, str], ZoneRecord] = {}
        # When the zones' last lines were written, the newest last.
        self._written: dict[tuple[str, str], list[float]] = {}

    def changed(self, zone: ZoneRecord) -> None:
        """A zone has another trust than before."""
        key = zone.tenant_id, zone.device_id
        if key in self._changed or len(self._changed) < WAITING_MAX:
            self._changed[key] = zone

    def flush(self, *, everything: bool = False) -> None:
        """Write what changed; of a zone that had its lines later, unless `everything` is to be."""
        now = self._clock.monotonic()
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
                _write(zone)
        else:
            counts = Counter(zone.trust_state for zone in due)
            said = ", ".join(f"{count} {state}" for state, count in counts.most_common())
            names = ", ".join(repr(zone.device_id) for zone in due[:LINES])
            log.warning("%d zones changed: %s; among them %s", len(due), said, names)


def _write(zone: ZoneRecord) -> None:
    state, reason = zone.trust_state, zone.trust_reason
    meaning = _MEANING.get(state, "no reading came yet")
    if not zone.relays_known:
        meaning = "nobody can know what its relays are until it posts"
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
