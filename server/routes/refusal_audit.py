"""RefusalAudit: audit entries about device keys that are wrong, another device's, or missing.

Such a post is a device whose key was replaced, or somebody who tries what is not theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.addresses import address_group
from server.auth.device_keys import DeviceKeys, KeyOfAnother, KeyRequired, WrongKey
from server.clock import Clock
from server.errors import BasError
from server.seldom import Ration
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.base import StoreUnavailable
from server.work import Work

# Entries of a process: strangers may provoke them, and each is kept for months. A minute's are
# about 10 KB.
ENTRIES_MAX, ENTRIES_S = 20, 60.0
# Entries that wait for the store at a time: all of a minute, which may come at once. Where they
# wait for longer the store hangs, and takes no other one either.
OPEN_MAX = ENTRIES_MAX
# As much of an address is kept, which a proxy may have been told by a stranger.
ADDRESS_MAX = 64


class RefusalAudit:
    """One entry a minute for each address, device and code, and not too many of them.

    No answer waits for an entry, or fails with it. Close `work` at the end.
    """

    def __init__(self, audit: AuditStore, keys: DeviceKeys, clock: Clock) -> None:
        self._audit = audit
        self._keys = keys
        self._ration = Ration(ENTRIES_MAX, ENTRIES_S, clock.monotonic)
        self.work = Work()

    def note(
        self, route: str, refusal: BasError, address: str, tenant_id: str, devices: Sequence[str]
    ) -> None:
        """Keep an entry, soon, if the refusal is about a key; the arguments are those of
        `Refusals.refused`."""
        if not isinstance(refusal, (WrongKey, KeyOfAnother, KeyRequired)):
            return
        device_id = devices[0] if devices else ""
        name = (address_group(address), tenant_id, device_id, refusal.code)
        if not self._ration.may_say(name, address):
            return
        if len(self.work) >= OPEN_MAX:
            self._audit.lose(1, "too many wait for the store")
            return
        details: dict[str, Any] = {"code": refusal.code, "device_id": device_id, "path": route}
        if isinstance(refusal, KeyOfAnother):
            details["key_of"] = refusal.owner
        self.work.begin(self._keep(tenant_id, address[:ADDRESS_MAX], details))

    async def _keep(self, tenant_id: str, address: str, details: dict[str, Any]) -> None:
        if details["code"] == KeyRequired.code:
            # Where every device must have a key, one that was never given any is no news.
            try:
                if not await self._keys.has_key(tenant_id, details["device_id"]):
                    return
            except StoreUnavailable as error:
                self._audit.lose(1, error)
                return
        await self._audit.log_event(
            "DEVICE_REFUSED",
            tenant_id=tenant_id,
            username="",
            address=address,
            success=False,
            details=details,
        )
