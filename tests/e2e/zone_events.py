"""Events of the live stream in the server's format, for tests that write the stream."""

from __future__ import annotations

from typing import Any

NOW = 1_790_000_000_000
HOUR_MS = 3_600_000
TRUSTED = {"state": "ok", "since": NOW, "reason": None}
LATE = {"state": "suspect", "since": NOW, "reason": "late"}
COOLING = {"state": "COOLING_WITH_LEDS", "cool_active": True, "heat_active": True}


def reading(timestamp: int, temp_tenths: int | None, **more: Any) -> dict[str, Any]:
    """A reading of the zone `office`, or its status in a snapshot."""
    return {
        "device_id": "office",
        "timestamp": timestamp,
        "temp_tenths": temp_tenths,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
        "state": "IDLE_WITH_LEDS",
        "cool_active": False,
        "heat_active": True,
        "sensor_ok": True,
    } | more


def setpoint(timestamp: int, tenths: int) -> dict[str, Any]:
    return {
        "device_id": "office",
        "setpoint_tenths": tenths,
        "deadband_tenths": 10,
        "updated_by": "somebody",
        "timestamp": timestamp,
    }


def zone_event(timestamp: int, **more: Any) -> dict[str, Any]:
    """A `zone` event of `office`: a command without a stored reading, both relays off."""
    return {
        "device_id": "office",
        "trust": TRUSTED,
        "relays_known": True,
        "cool_active": False,
        "heat_active": False,
        "state": "IDLE",
        "timestamp": timestamp,
    } | more
