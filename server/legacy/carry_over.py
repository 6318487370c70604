"""Takes over what the existing server did last: setpoint, deadband and relays, and its admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from server.auth.principal import DEFAULT_TENANT
from server.common.clock import Clock
from server.control.messages import NEW_ZONE_DAYS
from server.control.rules.relay_rule import Relays
from server.legacy.convert_rows import DEVICE, Conversion, Converted, LegacyRow, lasting
from server.services.firestore.models import DAY_MS, TenantSettings, ZoneRecord
from server.services.firestore.service_factory import Stores
from server.services.ports.documents import AlreadyExists, Create, VersionConflict, Write, plain

BY = "import-legacy"
ADMIN = "admin"


class LastState(NamedTuple):
    """What the newest readable row says, in tenths of °C, and the relays that it commanded."""

    setpoint_tenths: int
    deadband_tenths: int
    relays: Relays


def last_state(newest_first: Sequence[LegacyRow]) -> LastState | None:
    """The state in the first of these rows that has one; a date is not needed."""
    for row in newest_first:
        found = lasting(row)
        if found is not None:
            return LastState(*found)
    return None


async def carry_over(stores: Stores, state: LastState, clock: Clock) -> list[str]:
    """Store setpoint, deadband and relays where nothing is stored yet; say what was done.

    The values are those of tenant `default`, and the relays those of the device without an id. The
    cooler counts as switched now, so that its minimum times hold across the move.
    """
    celsius = f"{state.setpoint_tenths / 10:.1f} °C ± {state.deadband_tenths / 10:.1f}"
    known = await stores.zones.settings(DEFAULT_TENANT)
    settings = TenantSettings(
        tenant_id=DEFAULT_TENANT,
        revision=1,
        setpoint_tenths=state.setpoint_tenths,
        setpoint_rev=1,
        deadband_tenths=state.deadband_tenths,
        deadband_rev=1,
        updated_by=BY,
    )
    said = []
    if known.version is None:
        done = await _made(stores, stores.zones.settings_write(settings, None))
    else:
        done = False
    said.append(f"setpoint and deadband: {celsius}" if done else _left("setpoint and deadband"))
    zone = await stores.zones.get(DEFAULT_TENANT, DEVICE)
    if zone.version is None:
        relays, now_ms = state.relays, clock.now_ms()
        record = ZoneRecord(
            tenant_id=DEFAULT_TENANT,
            device_id=DEVICE,
            cool=relays.cool,
            heat=relays.heat,
            fault=relays.fault,
            cool_changed_ms=0.0,
            cool_changed_wall_ms=now_ms,
            run=BY,
            expire_at=now_ms + NEW_ZONE_DAYS * DAY_MS,
        )
        done = await _made(stores, stores.zones.zone_write(record, None))
    else:
        done = False
    shown = f"cooler {_word(state.relays.cool)}, heat {_word(state.relays.heat)}"
    said.append(f"relays of device {DEVICE}: {shown}" if done else _left("relays"))
    return said


async def replace_admin(
    stores: Stores, conversion: Conversion, rows: Sequence[LegacyRow]
) -> str | None:
    """Give the account `admin` the password that it has on the existing server.

    Its role stays. Returns what was done; None if either server has no usable `admin`.
    """
    for row in rows:
        if row["username"] != ADMIN:
            continue
        converted = conversion.convert("users", row)
        user = await stores.users.get_user_by_username(ADMIN)
        if not isinstance(converted, Converted) or user is None or user.tenant_id != DEFAULT_TENANT:
            return None
        assert isinstance(converted.item, Create)
        fields = plain(converted.item.fields)
        changes = {name: fields[name] for name in ("password_hash", "password_history")}
        await stores.users.update_user(ADMIN, changes)
        return f"{ADMIN}: has the existing server's password now"
    return None


async def _made(stores: Stores, write: Write) -> bool:
    """Whether this write made the document; another process may have made it first."""
    try:
        await stores.client.write([write])
    except (AlreadyExists, VersionConflict):
        return False
    return True


def _left(what: str) -> str:
    return f"{what}: left alone (set here already)"


def _word(on: bool) -> str:
    return "on" if on else "off"
