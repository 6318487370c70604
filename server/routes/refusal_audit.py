"""Writes audit entries about device keys that are wrong, another device's, or missing.

Such a post comes from a device whose key was replaced, or from an attacker who tries keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from server.auth.device_keys import DeviceKeys, KeyOfAnother, KeyRequired, WrongKey
from server.common.addresses import address_group
from server.common.clock import Clock
from server.common.errors import BasError
from server.common.seldom import Ration
from server.common.shielded_tasks import ShieldedTasks
from server.services.firestore.audit_store import AuditStore
from server.services.ports.documents import StoreUnavailable

# Limit per process: strangers may cause entries, and each is kept for months. One minute's entries
# take about 10 KB.
ENTRIES_MAX, ENTRIES_S = 20, 60.0
# Entries that may wait for the store: one minute's, which may come at once. If they wait longer,
# the store hangs and takes no further entry either.
OPEN_MAX = ENTRIES_MAX
# Characters of an address that are kept: a proxy may forward text that a stranger chose.
ADDRESS_MAX = 64


class RefusalAudit:
    """Keeps one entry a minute for each address, device and code, up to a limit.

    Answers neither wait for an entry nor fail with it. Close `work` at the end.
    """

    def __init__(self, audit: AuditStore, keys: DeviceKeys, clock: Clock) -> None:
        self._audit = audit
        self._keys = keys
        self._ration = Ration(ENTRIES_MAX, ENTRIES_S, clock.monotonic)
        self.work = ShieldedTasks()

    def note(
        self, route: str, refusal: BasError, address: str, tenant_id: str, devices: Sequence[str]
    ) -> None:
        """Start to write an entry if the refusal is about a key.

        The arguments are those of `Refusals.refused`.
        """
        if not isinstance(refusal, (WrongKey, KeyOfAnother, KeyRequired)):
            return
        device_id = devices[0] if devices else ""
        name = (address_group(address), tenant_id, device_id, refusal.code)
        if not self._ration.may_log(name, address):
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
            # In the mode `required`, a device that never had a key is not worth an entry.
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
