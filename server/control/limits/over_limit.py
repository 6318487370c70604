"""PostLimit: what happens to posts beyond the number that one address may send in a second."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import msgspec

from server.common.addresses import address_group
from server.common.clock import Clock
from server.common.errors import RateLimited
from server.common.metrics import Metrics
from server.control.messages import Command
from server.control.rules.decision import UNSTORED, PostedRow, Rules, Share, plan
from server.control.rules.reading import NewReading
from server.control.rules.setpoint_rules import in_force
from server.control.rules.zone_record import command_of, moment_of
from server.control.zone_cache import ZoneCache

# A zone's post is handled as always if its last one is this old, also beyond the limit: devices
# post every 2 s, so a flood from their address changes nothing for them.
HANDLED_EVERY_MS = 1000

_group = lru_cache(4096)(address_group)


class TooManyPosts(RateLimited):
    """The address sent more posts in this second than it may, and this zone does not exist."""

    error = "Too many posts from this address"

    def __init__(self) -> None:
        super().__init__(1)


def none_may(_tenant_id: str, _device_id: str) -> TooManyPosts:
    """The `Newcomers` of a post beyond the limit."""
    return TooManyPosts()


class PostLimit:
    """Counts posts by address in each second, and answers some of those beyond the limit.

    A post beyond the limit never makes a zone. For a zone that posted less than HANDLED_EVERY_MS
    ago, it is answered with the command in force and not stored, unless it would switch a relay
    off. Nothing else is limited: no device whose zone exists is refused.
    """

    def __init__(self, cache: ZoneCache, clock: Clock, metrics: Metrics, rules: Rules) -> None:
        self._cache = cache
        self._clock = clock
        self._metrics = metrics
        self._rules = rules
        self._second = 0
        self._counts: dict[str, int] = {}

    def is_over(self, address: str, most: int, is_shared: Callable[[str], bool]) -> bool:
        """Count a post or a batch; return whether it is beyond `most` in this second."""
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second = second
            self._counts.clear()
        group = _group(address)
        count = self._counts[group] = self._counts.get(group, 0) + 1
        return count > most and bool(address) and not is_shared(address)

    def answer(self, tenant_id: str, device_id: str, new: NewReading) -> Command | None:
        """The command in force for a post beyond the limit; None: handle it as always."""
        slot = self._cache.peek(tenant_id, device_id)
        if slot is None or slot.current is None or slot.divergences or new.key is not None:
            return None
        zone, moment = slot.current.zone, moment_of(self._clock)
        if moment.steady_ms - zone.last_seen_ms >= HANDLED_EVERY_MS:
            return None
        values = in_force(zone, self._cache.known_settings(tenant_id))
        share = Share(device_id, (PostedRow(0, new),), new, last=True)
        after = plan(share, zone, values, {}, moment, self._rules, UNSTORED).zone
        relays = (zone.cool, zone.heat, zone.fault)
        if after is None or (after.cool, after.heat, after.fault) != relays:
            return None
        self._metrics.posts_limited.inc()
        self._metrics.readings_unstored.inc()
        return msgspec.structs.replace(command_of(zone, values), stored=False)
