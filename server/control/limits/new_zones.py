"""NewZones: limits how many new zones one address makes in an hour."""

from __future__ import annotations

import math
from collections.abc import Callable

from server.common.addresses import address_group
from server.common.clock import Clock
from server.common.errors import RateLimited

WINDOW_S = 3600.0
# Addresses that are counted; the oldest is dropped for a new one. Each has at most one entry of
# about 200 bytes for each zone that it may make.
ADDRESSES_MAX = 4096


class TooManyNewZones(RateLimited):
    """This address made as many new zones as it may in an hour."""

    error = "Too many new zones from this address"
    code = "NEW_ZONES_LIMITED"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(retry_after_s)
        self.message = f"register this device, or try again in {retry_after_s} s"


class NewZones:
    """The zones that posts from each address made in the last hour, in this process.

    Nothing asks here for a device whose zone exists, and a registered device is admitted whatever
    the answer. This machine, and trusted proxies that name no other address, are not limited.
    """

    def __init__(self, most: int, clock: Clock, is_shared: Callable[[str], bool]) -> None:
        self._most = most
        self._clock = clock
        self._is_shared = is_shared
        # For each address group, when (monotonic) each zone was made.
        self._made: dict[str, dict[tuple[str, str], float]] = {}

    def refusal(self, address: str, tenant_id: str, device_id: str) -> RateLimited | None:
        """Why a post from this address may not make this zone; None: it may, and it is counted."""
        if not address or self._is_shared(address):
            return None
        wait_s = self._wait_s(address, (tenant_id, device_id))
        return TooManyNewZones(wait_s) if wait_s else None

    def _wait_s(self, address: str, zone: tuple[str, str]) -> int:
        """Count the zone, once; or return in how many seconds this address may make one."""
        now, group = self._clock.monotonic(), address_group(address)
        made = self._made.pop(group, {})
        made = {one: at for one, at in made.items() if now - at < WINDOW_S}
        if len(self._made) >= ADDRESSES_MAX:
            del self._made[next(iter(self._made))]
        self._made[group] = made
        if zone in made:
            return 0  # another attempt of the same post
        if len(made) >= self._most:
            return math.ceil(WINDOW_S - (now - min(made.values(), default=now)))
        made[zone] = now
        return 0
