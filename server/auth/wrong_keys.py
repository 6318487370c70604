"""WrongKeys: devices' wrong keys counted by address, and how they are kept from the store."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.addresses import address_group
from server.clock import Clock
from server.services.firestore.base import StoreBusy

# Wrong keys of one address that are looked up as they come, in so long.
WRONG_KEYS_MAX, WRONG_KEYS_S = 30, 60.0
# After those: at once, and how long a post waits for it. The firmware gives up after 5 s.
LOOK_UPS_MAX, LOOK_UP_WAIT_S = 4, 2.0
# Of which wrong keys are counted; the oldest is forgotten for one more. About 250 bytes each.
ADDRESSES_MAX = 4096


class _Count:
    """Wrong keys of an address until `ends`, in monotonic seconds."""

    __slots__ = ("ends", "wrong")

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.wrong = 0


class WrongKeys:
    """How many wrong device keys came from an address lately, as this process saw them.

    In memory: nobody guesses a key of 256 bits, so the limit keeps strangers from working the store
    and not from a key, and a count in the store would be such work itself.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, _Count] = {}  # those that end first come first
        self._limited_until = 0.0
        # By address, who may look up now, and how many do or want to.
        self._turns: dict[str, tuple[asyncio.Semaphore, int]] = {}

    def count(self, address: str) -> int:
        """Count a wrong key; the seconds to wait if there were too many before it, else 0."""
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
        """Whether one wrong key more from there is too many. While no address is at its limit this
        costs a look at the clock: each post with a key asks."""
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
        store. Raises StoreBusy after LOOK_UP_WAIT_S: nobody knows then whether the key is right.
        """
        group = address_group(address)
        turns, many = self._turns.get(group, (asyncio.Semaphore(LOOK_UPS_MAX), 0))
        self._turns[group] = turns, many + 1
        try:
            try:
                async with asyncio.timeout(LOOK_UP_WAIT_S):
                    await turns.acquire()
            except TimeoutError:
                raise StoreBusy(message="too many unknown keys from this address") from None
            try:
                yield
            finally:
                turns.release()
        finally:
            many = self._turns[group][1] - 1
            if many:
                self._turns[group] = turns, many
            else:
                del self._turns[group]

    def _forget(self, now: float, group: str) -> None:
        """Whose time is over, this group, and the oldest if there would be too many."""
        self._counts.pop(group, None)
        while self._counts:
            oldest = next(iter(self._counts))
            if now < self._counts[oldest].ends and len(self._counts) < ADDRESSES_MAX:
                break
            del self._counts[oldest]
