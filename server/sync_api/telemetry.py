"""SyncTelemetry: lets threads store readings, and query them as dicts."""

from __future__ import annotations

import math
import secrets
from typing import Any

import msgspec

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.services.firestore.models import LATEST_MS, utc_text
from server.services.firestore.service_factory import Stores
from server.services.firestore.telemetry_store import new_row
from server.services.history.measured import Measured, flag, measured
from server.services.ports.readings import Reading
from server.services.ports.values import INTEGER_MAX, INTEGER_MIN
from server.sync_api.bridge import SyncBridge
from server.sync_api.face import Face, checked_name, whole_number

HOUR_MS = 3_600_000
# A device's clock may be this far ahead of this machine's.
AHEAD_MS = 5 * 60_000
HOURS_MAX = 24 * 36_500
# The size of the cache of known devices; when it is full, it is cleared and filled again.
KNOWN_MAX = 10_000


class NewTelemetry(msgspec.Struct, frozen=True, kw_only=True):
    """The data of `add_telemetry`: temperatures in tenths of °C, `timestamp` in Unix ms.

    `temp_tenths` and `sensor_ok` may be anything: they are read like those of a device.
    """

    timestamp: float | None = None
    temp_tenths: Any = msgspec.UNSET
    setpoint_tenths: int = 230
    deadband_tenths: int = 10
    cool_active: bool = False
    heat_active: bool = False
    state: str = "IDLE"
    sensor_ok: Any = False


class SyncTelemetry(Face):
    """The telemetry store of the existing server."""

    name = "telemetry"

    def __init__(
        self,
        bridge: SyncBridge,
        metrics: Metrics,
        stores: Stores,
        clock: Clock,
    ) -> None:
        super().__init__(bridge, metrics)
        self._stores = stores
        self._clock = clock
        self._known: set[tuple[str, str]] = set()

    def add_telemetry(
        self,
        tenant_id: str,
        device_id: str,
        data: dict[str, Any],
        timestamp_ms: float | None = None,
    ) -> bool:
        """Store one reading; return whether it is stored.

        `timestamp_ms` (Unix ms) wins over the time in `data`.
        `data` has the keys of `NewTelemetry`; others are not stored. A missing or impossible
        temperature of a good sensor makes the reading a fault. The first reading makes its device
        known. The reading switches no relay and causes no event.
        """
        checked_name(tenant_id, "tenant_id")
        checked_name(device_id, "device_id")
        try:
            new = msgspec.convert(data, NewTelemetry)
        except msgspec.ValidationError as error:
            raise TypeError(f"data: {error}") from None
        now = self._clock.now_ms()
        given = new.timestamp if timestamp_ms is None else timestamp_ms
        read = _measured(new)
        reading = Reading(
            tenant_id=tenant_id,
            device_id=device_id,
            timestamp_ms=now if given is None else _time_ms(given),
            received_ms=now,
            temp_tenths=read.temp_tenths,
            setpoint_tenths=_stored_number(new.setpoint_tenths, "setpoint_tenths"),
            deadband_tenths=_stored_number(new.deadband_tenths, "deadband_tenths"),
            cool_active=new.cool_active,
            heat_active=new.heat_active,
            state=new.state,
            sensor_ok=read.sensor_ok,
            fault_reason=read.fault_reason,
        )
        return self._ask("add_telemetry", False, self._add, reading)

    def query_recent(
        self, tenant_id: str, device_id: str, limit: int = 100
    ) -> list[dict[str, Any]]:
        """The device's newest readings, newest first; `limit` is 1 to 10,000."""

        async def ask() -> list[dict[str, Any]]:
            return _dicts(await self._stores.telemetry.query_recent(tenant_id, device_id, limit))

        return self._ask("query_recent", [], ask)

    def query_window(
        self,
        tenant_id: str,
        device_id: str,
        start_time_ms: int,
        end_time_ms: int,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """The newest readings with start <= timestamp <= end, newest first."""
        window = (start_time_ms, end_time_ms, limit)

        async def ask() -> list[dict[str, Any]]:
            telemetry = self._stores.telemetry
            return _dicts(await telemetry.query_window(tenant_id, device_id, *window))

        return self._ask("query_window", [], ask)

    def query_recent_paginated(
        self,
        tenant_id: str,
        device_id: str,
        limit: int = 100,
        start_after_doc_id: str | None = None,
    ) -> dict[str, Any]:
        """A page of readings, newest first; with its `last_doc_id` the next page begins."""

        async def ask() -> dict[str, Any]:
            readings, cursor = await self._stores.telemetry.query_recent_paginated(
                tenant_id, device_id, limit, start_after_doc_id
            )
            return {"data": _dicts(readings), "last_doc_id": cursor, "has_more": bool(cursor)}

        empty: dict[str, Any] = {"data": [], "last_doc_id": None, "has_more": False}
        return self._ask("query_recent_paginated", empty, ask)

    def get_device_statistics(
        self, tenant_id: str, device_id: str, hours: int = 24
    ) -> dict[str, Any]:
        """Figures of the last `hours`; all are 0 if there are no readings."""
        whole_number(hours, "hours", 1, HOURS_MAX)
        names = ("total_records", "avg_temperature", "min_temperature", "max_temperature")
        zeros = dict.fromkeys((*names, "sensor_failures", "uptime_percentage"), 0)

        async def ask() -> dict[str, Any]:
            now = self._clock.now_ms()
            figures = await self._stores.telemetry.get_device_statistics(
                tenant_id, device_id, now - hours * HOUR_MS, now + AHEAD_MS
            )
            known = msgspec.structs.asdict(figures)
            return {name: known[name] or zero for name, zero in zeros.items()}

        return self._ask("get_device_statistics", dict(zeros), ask)

    def get_device_count(self, tenant_id: str) -> int:
        """How many devices of the tenant are registered, or were seen in the last 30 days."""

        async def ask() -> int:
            registered = await self._stores.devices.list_devices(tenant_id)
            zones = await self._stores.zones.all(tenant_id)
            ids = {device.device_id for device in registered}
            return len(ids.union(zone.device_id for zone in zones))

        return self._ask("get_device_count", 0, ask)

    async def _add(self, reading: Reading) -> bool:
        row = new_row(secrets.token_hex(12), reading)
        await self._stores.telemetry.write([], [row])
        device = (reading.tenant_id, reading.device_id)
        if device not in self._known:
            await self._stores.devices.make_known(*device)
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known.add(device)
        return True


def _measured(new: NewTelemetry) -> Measured:
    """Read the value; without one a good sensor has measured nothing, and a failed one 0."""
    if new.temp_tenths is msgspec.UNSET:
        return measured(None if flag(new.sensor_ok) else 0, new.sensor_ok)
    return measured(new.temp_tenths, new.sensor_ok)


def _time_ms(time_ms: float) -> int:
    if not math.isfinite(time_ms):
        raise ValueError(f"timestamp must be a time, not {time_ms}")
    return whole_number(int(time_ms), "timestamp", 0, LATEST_MS)


def _stored_number(value: int, what: str) -> int:
    return whole_number(value, what, INTEGER_MIN, INTEGER_MAX)


def _dicts(readings: list[Reading]) -> list[dict[str, Any]]:
    return [
        {
            "tenant_id": reading.tenant_id,
            "device_id": reading.device_id,
            "timestamp_ms": reading.timestamp_ms,
            "utc_timestamp": utc_text(reading.timestamp_ms),
            "temp_tenths": reading.temp_tenths,
            "setpoint_tenths": reading.setpoint_tenths,
            "deadband_tenths": reading.deadband_tenths,
            "cool_active": reading.cool_active,
            "heat_active": reading.heat_active,
            "state": reading.state,
            "sensor_ok": reading.sensor_ok,
        }
        for reading in readings
    ]
