"""Sends relay changes between processes, so that each knows every device's last command."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from itertools import count
from urllib.parse import unquote

import msgspec

from server.common.clock import Clock
from server.control.messages import relays_on
from server.control.rules.relay_rule import Relays, without
from server.control.rules.zone_record import moment_of, with_relays
from server.control.zone_cache import ZoneCache
from server.services.firestore.base import escaped
from server.services.firestore.models import ZoneRecord
from server.services.firestore.store_watch import StoreWatch
from server.services.site.ports import Notices

# The notices. SWITCHED: one line for a zone whose relays changed in the store. CUT: one line per
# zone that was switched off without the store; each has a number, since it is sent repeatedly.
# UNKNOWN: a process commanded a device off without knowing its zone. Each of these has the time of
# the command, as a notice may arrive late: it says nothing of a zone that was seen since. BACK: the
# store is reachable again for one process.
SWITCHED, CUT, UNKNOWN, BACK = "switched", "cut", "told-off", "store-back"
# Redis may lose a notice while it goes down: a cut is sent again every second for 10 s, and those
# 10 s begin when Redis is back.
RESEND_INTERVAL_S, RESEND_FOR_S = 1.0, 10.0
LINES_MAX = 100
# Unknown clients are commanded off too: at most this many notices a second, one for each client.
UNKNOWN_MAX = 200
RECEIVED_MAX = 10_000


class RelayNotices:
    """Keeps processes in step about relays while the store is unreachable.

    If other processes cannot be reached, all relays must be off until the store is back: `all_off`.
    """

    def __init__(self, cache: ZoneCache, watch: StoreWatch, notices: Notices, clock: Clock) -> None:
        self._cache = cache
        self._watch = watch
        self._notices = notices
        self._clock = clock
        self._resending: asyncio.Task[None] | None = None
        self._alone = False
        # Recent cuts: each notice's line, and when it was first sent.
        self._cuts: dict[str, float] = {}
        self._numbers = map(f"{secrets.token_hex(4)}.{{}}".format, count())
        self._received: dict[str, None] = {}
        self._unknown: set[str] = set()
        self._find_device: Callable[[str], tuple[str, str] | None] = lambda _: None
        self._on_cut: Callable[[tuple[str, str]], None] = lambda _: None
        if watch.away:
            cache.commanded_off(None)  # the process before this one may have done so
            self._start_resending()
        watch.on_lost(self._start_resending)
        notices.listen(SWITCHED, self._receive_switched)
        notices.listen(CUT, self._receive_cuts)
        notices.listen(UNKNOWN, self._receive_unknown)
        notices.listen(BACK, lambda _: watch.retry_now())

    @property
    def all_off(self) -> bool:
        """Whether every relay must be off while the store is unreachable."""
        self._alone = self._alone or not self._notices.reach_others
        return self._alone

    def switched(self, zone: ZoneRecord) -> None:
        """Notify the others that the store has this zone with changed relays."""
        self._notices.publish(SWITCHED, _line(zone))

    def cut(self, zone: ZoneRecord) -> None:
        """Notify the others that this zone was switched off without the store."""
        line = f"{next(self._numbers)} {_line(zone)}"
        self._notices.publish(CUT, line)
        self._cuts[line] = self._clock.monotonic()

    def commanded_off(self, post: str, device_id: str | None) -> None:
        """Notify the others that a device was commanded off whose zone this process does not know.

        `post` identifies the device by what its post contained; `device_id` is the name in it, None
        if that is not known.
        """
        self._cache.commanded_off(device_id)
        if self._watch.away and post not in self._unknown and len(self._unknown) < UNKNOWN_MAX:
            self._unknown.add(post)
            self._notices.publish(UNKNOWN, f"{self._clock.steady_ms()} {post}")

    def on_cut(self, listener: Callable[[tuple[str, str]], None]) -> None:
        """Call `listener` with the (tenant, device) of a cut that the store does not have.

        Another process cut the zone while this process can reach the store, and so can write it.
        """
        self._on_cut = listener

    def set_device_finder(self, find_device: Callable[[str], tuple[str, str] | None]) -> None:
        """Set the function that finds the (tenant, device) of another process's unknown `post`."""
        self._find_device = find_device

    def _start_resending(self) -> None:
        if self._resending is None or self._resending.done():
            self._resending = asyncio.create_task(self._resend_cuts(), name="cuts")

    def back(self) -> None:
        """Handle the return of the store."""
        if self._alone:
            # Cuts by other processes may not have arrived here: count every zone as commanded off.
            for (tenant_id, device_id), slot in self._cache.items():
                if slot.commanded is not None:
                    at_ms = slot.commanded.last_seen_ms
                    self._cut_here(tenant_id, device_id, Relays(), at_ms)
        self._alone = False
        self._notices.publish(BACK, "")

    async def close(self) -> None:
        """Stop sending notices."""
        if self._resending is not None:
            self._resending.cancel()
            await asyncio.wait({self._resending})

    async def _resend_cuts(self) -> None:
        """Send recent cuts once a second until the store is back.

        Without cuts it sends an empty notice, which shows whether other processes can be reached.
        """
        while self._watch.away:
            if not self._notices.reach_others:
                self._cuts = dict.fromkeys(self._cuts, self._clock.monotonic())
            since = self._clock.monotonic() - RESEND_FOR_S
            self._cuts = {line: at for line, at in self._cuts.items() if at >= since}
            lines = list(self._cuts)
            for start in range(0, len(lines) or 1, LINES_MAX):
                self._notices.publish(CUT, "\n".join(lines[start : start + LINES_MAX]))
            await asyncio.sleep(RESEND_INTERVAL_S)
            self._unknown.clear()
            _ = self.all_off
        self._cuts.clear()

    def _receive_switched(self, line: str) -> None:
        tenant_id, device_id, relays, at_ms = _parsed(line)
        slot = self._cache.peek(tenant_id, device_id)
        if slot is None or slot.commanded is None or slot.commanded.last_seen_ms > at_ms:
            return
        moment = moment_of(self._clock)
        was = relays_on(
            slot.commanded, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms
        )
        changed_ms = was.cool_changed_ms if relays.cool == was.cool else moment.uptime_ms
        now = msgspec.structs.replace(relays, cool_changed_ms=changed_ms)
        zone = msgspec.structs.replace(slot.commanded, last_seen_ms=at_ms)
        slot.commanded = with_relays(zone, now, moment)

    def _receive_cuts(self, lines: str) -> None:
        for line in lines.split("\n"):
            number, _, cut = line.partition(" ")
            if cut and number not in self._received:
                if len(self._received) >= RECEIVED_MAX:
                    del self._received[next(iter(self._received))]
                self._received[number] = None
                self._cut_here(*_parsed(cut))

    def _receive_unknown(self, notice: str) -> None:
        at_ms, _, post = notice.partition(" ")
        found = self._find_device(post)
        if found is not None:
            self._cut_here(*found, Relays(), int(at_ms))

    def _cut_here(self, tenant_id: str, device_id: str, relays: Relays, at_ms: int) -> None:
        """Note that another process cut a zone that this one may think is on, or does not know."""
        slot = self._cache.slot_if_room(tenant_id, device_id)
        if slot is None:
            return
        if slot.commanded is not None and slot.commanded.last_seen_ms > at_ms:
            return  # its device got another command since
        moment = moment_of(self._clock)
        if slot.commanded is None:
            # The store may have other relays; the device's last command was this one.
            zone, was = ZoneRecord(tenant_id=tenant_id, device_id=device_id), Relays(True, True)
        else:
            zone = slot.commanded
            was = relays_on(zone, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
        now = without(was, moment.uptime_ms, cool=relays.cool, heat=relays.heat)
        if slot.commanded is None or now != was:
            zone = msgspec.structs.replace(zone, last_seen_ms=max(zone.last_seen_ms, at_ms))
            slot.commanded = with_relays(zone, now, moment)
            slot.unstored = True
            slot.divergences += 1
            if not self._watch.away:
                self._on_cut((tenant_id, device_id))


def _line(zone: ZoneRecord) -> str:
    """A zone, its relays, and when it was last seen, as one line."""
    relays = f"{zone.cool:d}{zone.heat:d}{zone.fault:d}"
    return f"{escaped(zone.tenant_id)}_{escaped(zone.device_id)} {relays} {zone.last_seen_ms}"


def _parsed(line: str) -> tuple[str, str, Relays, int]:
    ids, relays, at_ms = line.rsplit(" ", 2)
    tenant_id, _, device_id = ids.partition("_")
    cool, heat, fault = (flag == "1" for flag in relays)
    return unquote(tenant_id), unquote(device_id), Relays(cool, heat, fault), int(at_ms)
