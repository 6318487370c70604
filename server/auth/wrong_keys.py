"""Counts wrong keys and tokens by address, and keeps their look-ups from overloading the store."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from server.common.addresses import address_group
from server.common.clock import Clock
from server.common.keyed_locks import KeyedLocks
from server.services.ports.documents import StoreBusy

# Wrong keys that one address may send in this time before it is limited.
WRONG_KEYS_MAX, WRONG_KEYS_S = 30, 60.0
# Look-ups at a time for a limited address, and how long a post waits for its turn. The firmware
# gives up after 5 s.
LOOK_UPS_MAX, LOOK_UP_WAIT_S = 4, 2.0
# Addresses that are counted; the oldest is dropped for a new one. About 250 bytes each.
ADDRESSES_MAX = 4096


class _Count:
    """The wrong keys of an address until `ends`, in monotonic seconds."""

    __slots__ = ("ends", "wrong")

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.wrong = 0


class WrongKeys:
    """How many wrong keys and tokens came from an address lately, in this process.

    The counts are in memory: a key of 256 bits cannot be guessed, so the limit protects the store
    and not the keys, and a count in the store would add load to it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, _Count] = {}  # ordered by end
        self._limited_until = 0.0
        self._look_ups = KeyedLocks(LOOK_UPS_MAX)

    def count(self, address: str) -> int:
        """Count a wrong key; return the seconds to wait if too many came before it, else 0."""
        now, group = self._clock.monotonic(), address_group(address)
        found = self._counts.get(group)
        if found is None or now >= found.ends:
            self._forget(now, group)
            found = self._counts[group] = _Count(now + WRONG_KEYS_S)
        found.wrong += 1
        if found.wrong >= WRONG_KEYS_MAX:
            self._limited_until = max(self._limited_until, found.ends)
        return math.ceil(found.ends - now) if found.wrong > WRONG_KEYS_MAX else 0

    def limited(self, address: str) -> bool:
        """Whether this address has reached its limit.

        Each post with a key asks; while no address is at its limit, that costs one look at the
        clock.
        """
        now = self._clock.monotonic()
        if now >= self._limited_until:
            return False
        found = self._counts.get(address_group(address))
        return found is not None and found.wrong >= WRONG_KEYS_MAX and now < found.ends

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn to look up a key that came from an address at its limit.

        The key may be right: it may belong to a new device, or to a device that shares its address
        with an attacker. An address gets few turns at once, so that an attacker cannot load the
        store. Raises StoreBusy after LOOK_UP_WAIT_S; it is then unknown whether the key is right.
        """
        async with AsyncExitStack() as holding:
            try:
                held = self._look_ups.hold(address_group(address), LOOK_UP_WAIT_S)
                await holding.enter_async_context(held)
            except TimeoutError:
                raise StoreBusy(message="too many unknown keys from this address") from None
            yield

    def _forget(self, now: float, group: str) -> None:
        """Drop this group, ended counts, and the oldest count if there would be too many."""
        self._counts.pop(group, None)
        while self._counts:
            oldest = next(iter(self._counts))
            if now < self._counts[oldest].ends and len(self._counts) < ADDRESSES_MAX:
                break
            del self._counts[oldest]
