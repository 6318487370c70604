"""Refusals: the trace that a refused post of readings leaves.

No firmware hears a refusal: the device goes on as if nothing were wrong, with its relays as they
are. So the operators of the site must learn of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from server.auth.device_keys import DeviceKeys, KeyOfAnother
from server.clock import Clock
from server.errors import BasError, InvalidField, Unavailable
from server.metrics import Metrics
from server.routes.refusal_audit import RefusalAudit
from server.seldom import Ration
from server.services.firestore.audit_store import AuditStore

log = logging.getLogger(__name__)

SINGLE, BATCH = "/api/sensor_data", "/api/sensor_data/batch"
# The sender of refused posts must not fill the disk with log lines.
LINES_MAX, LINES_S = 10, 10.0
# Of an address or a message, which a stranger may choose.
TEXT_MAX = 200

OnRefused = Callable[[str, str, str], None]
"""Called with tenant, device and code; the device may be made up. It must be quick and not raise.
"""


class Refusals:
    """What is refused is counted, and said in the log: once a minute of one device. What is wrong
    with its key is in the audit log too."""

    def __init__(
        self,
        audit: AuditStore,
        keys: DeviceKeys,
        metrics: Metrics,
        clock: Clock,
        on_refused: OnRefused,
    ) -> None:
        self._audit = RefusalAudit(audit, keys, clock)
        self._metrics = metrics
        self._on_refused = on_refused
        self._lines = Ration(LINES_MAX, LINES_S, clock.monotonic)

    def refused(
        self, route: str, refusal: BasError, address: str, tenant_id: str, devices: Sequence[str]
    ) -> None:
        """A post from this address, or a row of it, was refused, which named these devices.

        `tenant_id` is whose devices the sender speaks for.
        """
        self._metrics.readings_refused.labels(route=route, code=refusal.code).inc()
        if not isinstance(refusal, Unavailable):  # its answer holds a command
            for device_id in devices:
                self._on_refused(tenant_id, device_id, refusal.code)
        self._audit.note(route, refusal, address, tenant_id, devices)
        if rest := self._lines.rest():
            log.warning("%d more posts of readings were refused, without a line each", rest)
        # What names no device is known by where it comes from.
        name = (tenant_id, devices[0]) if devices else (address,)
        if self._lines.may_say(name, address):
            log.warning(
                "a post of readings to %s was refused: %s, from %s, %s; no firmware hears that, its"
                " relays stay as they are",
                route,
                _cause(refusal),
                _shown(address),
                _named(refusal, devices),
            )

    async def close(self, timeout_s: float) -> None:
        """Wait for the audit entries under way, so long at most."""
        await self._audit.work.close(timeout_s)


def _cause(refusal: BasError) -> str:
    if isinstance(refusal, InvalidField):
        return f"{refusal.code} in field {_shown(refusal.field)}"
    return f"{refusal.code} ({_shown(refusal.message)})" if refusal.message else refusal.code


def _named(refusal: BasError, devices: Sequence[str]) -> str:
    if not devices:
        return "naming no device"
    more = f" and {len(devices) - 1} more" if len(devices) > 1 else ""
    key = f" with the key of {_shown(refusal.owner)}" if isinstance(refusal, KeyOfAnother) else ""
    return f"device {_shown(devices[0])}{more}{key}"


def _shown(text: str) -> str:
    """A text that a stranger may have chosen, in quotes: whatever it holds, it begins no line and
    says nothing in the server's own words."""
    return repr(text[:TEXT_MAX])
