"""RelayNotices: what processes tell each other of relays, so that each of them remembers what a
device was told last, by whichever of them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from itertools import count
from urllib.parse import unquote

import msgspec

from server.clock import Clock
from server.control.views import relays_on
from server.control.zone import Relays, without
from server.control.zone_cache import ZoneCache
from server.control.zone_record import moment_of, with_relays
from server.notices import Notices
from server.services.firestore.base import escaped
from server.services.firestore.models import ZoneRecord
from server.services.firestore.store_watch import StoreWatch

# Of relays that were switched, and stored so: a line. Of those that were cut without the store: a
# line each, with a number, since they are told again. Of a device that was told to be off by a
# process that does not know it. That the store is back for one process.
SWITCHED, CUT, UNKNOWN, BACK = "switched", "cut", "told-off", "store-back"
# A notice may be lost while Redis dies: what was cut is told again for so long, once a second.
TELL_EVERY_S, TELL_AGAIN_S = 1.0, 10.0
LINES_MAX = 100
# Strangers are told to be off as well: so many are told of a second, each once.
UNKNOWN_MAX = 200
HEARD_MAX = 10_000


class RelayNotices:
    """Where processes cannot be told, all must be off until the store is back: `all_off`."""

    def __init__(self, cache: ZoneCache, watch: StoreWatch, notices: Notices, clock: Clock) -> None:
        self._cache = cache
        self._watch = watch
        self._notices = notices
        self._clock = clock
        self._telling: asyncio.Task[None] | None = None
        self._alone = False
        # What was cut lately: the line that tells of it, and since when.
        self._cuts: dict[str, float] = {}
        self._numbers = map(f"{secrets.token_hex(4)}.{{}}".format, count())
        self._heard: dict[str, None] = {}
        self._unknown: set[str] = set()
        self._known_as: Callable[[str], tuple[str, str] | None] = lambda _: None
        self._on_cut: Callable[[tuple[str, str]], None] = lambda _: None
        if watch.away:
            cache.told_off = True  # by whatever process was here before
            self._keep_telling()
        watch.on_lost(self._keep_telling)
        notices.listen(SWITCHED, self._hear_switched)
        notices.listen(CUT, self._hear_cuts)
        notices.listen(UNKNOWN, self._hear_unknown)
        notices.listen(BACK, lambda _: watch.try_now())

    @property
    def all_off(self) -> bool:
        """Whether nothing may be on, while the store is away."""
        self._alone = self._alone or not self._notices.reach_others
        return self._alone

    def switched(self, zone: ZoneRecord) -> None:
        """The store has this zone with other relays than it had before."""
        self._notices.tell(SWITCHED, _line(zone))

    def cut(self, zone: ZoneRecord) -> None:
        """The device of this zone was told to switch something off, and the store does not know."""
        line = f"{next(self._numbers)} {_line(zone)}"
        self._notices.tell(CUT, line)
        self._cuts[line] = self._clock.monotonic()

    def told_off(self, post: str) -> None:
        """A device that this process does not know was told to be off: of such a `post`."""
        self._cache.told_off = True
        if self._watch.away and post not in self._unknown and len(self._unknown) < UNKNOWN_MAX:
            self._unknown.add(post)
            self._notices.tell(UNKNOWN, post)

    def on_cut(self, listener: Callable[[tuple[str, str]], None]) -> None:
        """Call `listener` with tenant and device of a zone that another process cut while this one
        has the store, which does not know it."""
        self._on_cut = listener

    def know(self, known_as: Callable[[str], tuple[str, str] | None]) -> None:
        """Whose a post is, of which another process tells that it does not know it."""
        self._known_as = known_as

    def _keep_telling(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_again(), name="cuts")

    def back(self) -> None:
        """The store is back."""
        if self._alone:
            # Whatever the others told, which was not heard here: it was to be off.
            for (tenant_id, device_id), slot in self._cache.items():
                if slot.told is not None:
                    at_ms = slot.told.last_seen_ms
                    self._cut_here(tenant_id, device_id, Relays(), at_ms)
        self._alone = False
        self._notices.tell(BACK, "")

    async def close(self) -> None:
        """Tell nothing more."""
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait({self._telling})

    async def _tell_again(self) -> None:
        """Once a second until the store is back; if nothing was cut, to see that others hear."""
        while self._watch.away:
            since = self._clock.monotonic() - TELL_AGAIN_S
            self._cuts = {line: at for line, at in self._cuts.items() if at >= since}
            lines = list(self._cuts)
            for start in range(0, len(lines) or 1, LINES_MAX):
                self._notices.tell(CUT, "\n".join(lines[start : start + LINES_MAX]))
            await asyncio.sleep(TELL_EVERY_S)
            self._unknown.clear()
            _ = self.all_off
        self._cuts.clear()

    def _hear_switched(self, line: str) -> None:
        tenant_id, device_id, relays, at_ms = _parsed(line)
        slot = self._cache.peek(tenant_id, device_id)
        if slot is None or slot.told is None or slot.told.last_seen_ms > at_ms:
            return
        moment = moment_of(self._clock)
        was = relays_on(slot.told, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
        changed_ms = was.cool_changed_ms if relays.cool == was.cool else moment.uptime_ms
        now = msgspec.structs.replace(relays, cool_changed_ms=changed_ms)
        zone = msgspec.structs.replace(slot.told, last_seen_ms=at_ms)
        slot.told = with_relays(zone, now, moment)

    def _hear_cuts(self, lines: str) -> None:
        for line in lines.split("\n"):
            number, _, cut = line.partition(" ")
            if cut and number not in self._heard:
                if len(self._heard) >= HEARD_MAX:
                    del self._heard[next(iter(self._heard))]
                self._heard[number] = None
                self._cut_here(*_parsed(cut))

    def _hear_unknown(self, post: str) -> None:
        found = self._known_as(post)
        if found is not None:
            self._cut_here(*found, Relays(), self._clock.steady_ms())

    def _cut_here(self, tenant_id: str, device_id: str, relays: Relays, at_ms: int) -> None:
        """Another process cut a zone that this one may think is on, or does not know."""
        slot = self._cache.slot_if_room(tenant_id, device_id)
        if slot is None:
            return
        moment = moment_of(self._clock)
        if slot.told is None:
            # Whatever the store has, the device was told this.
            zone, was = ZoneRecord(tenant_id=tenant_id, device_id=device_id), Relays(True, True)
        else:
            zone = slot.told
            was = relays_on(zone, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
        now = without(was, moment.uptime_ms, cool=relays.cool, heat=relays.heat)
        if slot.told is None or now != was:
            zone = msgspec.structs.replace(zone, last_seen_ms=max(zone.last_seen_ms, at_ms))
            slot.told = with_relays(zone, now, moment)
            slot.unstored = True
            slot.apart += 1
            if not self._watch.away:
                self._on_cut((tenant_id, device_id))


def _line(zone: ZoneRecord) -> str:
    """A zone, its relays, and when its device was told."""
    relays = f"{zone.cool:d}{zone.heat:d}{zone.fault:d}"
    return f"{escaped(zone.tenant_id)}_{escaped(zone.device_id)} {relays} {zone.last_seen_ms}"


def _parsed(line: str) -> tuple[str, str, Relays, int]:
    ids, relays, at_ms = line.rsplit(" ", 2)
    tenant_id, _, device_id = ids.partition("_")
    cool, heat, fault = (flag == "1" for flag in relays)
    return unquote(tenant_id), unquote(device_id), Relays(cool, heat, fault), int(at_ms)
