"""Counts and logs refused posts of readings.

Firmware ignores a refusal: the device goes on as if nothing were wrong, with its relays as they
are. The log and the metrics show it to the site's operators.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from server.auth.device_keys import DeviceKeys, KeyOfAnother
from server.common.clock import Clock
from server.common.errors import BasError, InvalidField, Unavailable
from server.common.metrics import Metrics
from server.common.seldom import Ration
from server.routes.refusal_audit import RefusalAudit
from server.services.firestore.audit_store import AuditStore

log = logging.getLogger(__name__)

SINGLE, BATCH = "/api/sensor_data", "/api/sensor_data/batch"
# The sender of refused posts must not fill the disk with log lines.
LINES_MAX, LINES_S = 10, 10.0
# Characters of an address or a message that a stranger may choose.
TEXT_MAX = 200

OnRefused = Callable[[str, str, str], None]
"""Called with tenant, device and code; must be quick and not raise. The device may be invented."""


class Refusals:
    """Counts each refusal and logs one a minute per device.

    A refusal about a device's key also goes to the audit log.
    """

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
        """Record that a post from `address`, or a row of it, was refused; it named `devices`.

        `tenant_id` is the tenant for whose devices the sender posts.
        """
        self._metrics.readings_refused.labels(route=route, code=refusal.code).inc()
        if not isinstance(refusal, Unavailable):  # its answer holds a command
            for device_id in devices:
                self._on_refused(tenant_id, device_id, refusal.code)
        self._audit.note(route, refusal, address, tenant_id, devices)
        if rest := self._lines.rest():
            log.warning("%d more posts of readings were refused, without a line each", rest)
        # A post without a device is identified by its address.
        name = (tenant_id, devices[0]) if devices else (address,)
        if self._lines.may_log(name, address):
            log.warning(
                "a post of readings to %s was refused: %s, from %s, %s; the device's relays stay as"
                " they are, because its firmware ignores refusals",
                route,
                _cause(refusal),
                _shown(address),
                _named(refusal, devices),
            )

    async def close(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` for the audit entries that are being written."""
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
    """A text that a stranger may have chosen, quoted.

    The quotes keep it from starting a log line or passing as the server's own words.
    """
    return repr(text[:TEXT_MAX])
