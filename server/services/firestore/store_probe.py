"""StoreProbe: proves that the store keeps what is written, and can read it back."""

from __future__ import annotations

import secrets

from server.common.clock import Clock
from server.services.firestore.routing import PROBES
from server.services.ports.documents import DocumentClient, Fields, Put, StoreUnavailable
from server.services.site.site_clock import SiteClock

# The one document that all processes write.
PROBE = "store"


class StoreProbe:
    """Writes a test document beside the readings, durably as each of them is."""

    def __init__(self, client: DocumentClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        # What the document held when it was read last.
        self._before: Fields | None = None

    async def write(self) -> str:
        """Write a new text; return it. Raises StoreUnavailable."""
        if isinstance(self._clock, SiteClock):
            # Without it the first decisions after an outage at the start would date the switches of
            # other machines by a clock that may be wrong.
            await self._clock.measure_first()
        token = secrets.token_hex(8)
        fields = {"at": self._clock.now_ms(), "token": token}
        await self._client.write([Put(PROBES, PROBE, fields)])
        return token

    async def prove(self) -> None:
        """Write a text and read it back. Raises StoreUnavailable."""
        token = await self.write()
        document = await self._client.get(PROBES, PROBE)
        found = document.fields if document is not None else None
        # Another process may have written since. What was there before must not come back.
        if found is None or (found.get("token") != token and found == self._before):
            raise StoreUnavailable(message="what was just written cannot be read back")
        self._before = found
