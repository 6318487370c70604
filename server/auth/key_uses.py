"""KeyUses: notes when devices' keys are used, and ends keys whose replacement is in use."""

from __future__ import annotations

import logging

from server.common.background_task import BackgroundTask
from server.common.clock import Clock
from server.common.errors import Conflict
from server.services.firestore.device_keys_store import DeviceKeysStore
from server.services.firestore.models import DeviceKey
from server.services.ports.documents import StoreUnavailable

# A key's last use is stored again after this time, so that not every post is a second write.
NOTED_EVERY_MS = 60_000
ROUND_S = 2.0
# Keys that wait to be noted; a key beyond them is noted at a later post.
WAITING_MAX = 20_000

log = logging.getLogger(__name__)


class KeyUses(BackgroundTask):
    """The uses of keys that are not stored yet, and the task that stores them."""

    def __init__(self, keys: DeviceKeysStore, clock: Clock) -> None:
        super().__init__("key-uses")
        self._keys = keys
        self._clock = clock
        self._used: dict[str, int] = {}
        self._replacing: dict[str, DeviceKey] = {}

    def note(self, key: DeviceKey) -> None:
        """Note that a post came with this key just now; each post with a key calls this."""
        now_ms = self._clock.now_ms()
        if now_ms - key.used_ms < NOTED_EVERY_MS and not key.replaces:
            return
        if len(self._used) < WAITING_MAX:
            self._used[key.digest] = now_ms
            if key.replaces:
                self._replacing[key.digest] = key

    async def store(self) -> None:
        """Store what was noted. Raises StoreUnavailable; later posts then note it again."""
        used, self._used = self._used, {}
        replacing, self._replacing = self._replacing, {}
        for digest, key in replacing.items():
            try:
                await self._keys.end_replaced(key, used.pop(digest))
            except Conflict:
                log.debug("the keys of device %s are being changed", key.device_id)
        if used:
            await self._keys.used(used)

    async def _run(self) -> None:
        while not self._stop.is_set():
            await self._pause(ROUND_S)
            try:
                await self.store()
            except StoreUnavailable as error:
                log.debug("the last use of keys could not be stored: %s", error)
