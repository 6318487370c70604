"""Lets operators name zones and set their thresholds.

Each zone has a versioned document; a change is audited and announced.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from server.common.clock import Clock
from server.common.errors import Conflict, InvalidField
from server.common.keyed_locks import KeyedLocks
from server.common.retries import tries
from server.common.shielded_tasks import ShieldedTasks
from server.control.messages import SettingsEvent, ZoneSettingsView, settings_view
from server.control.zone_cache import ZoneCache, given_up
from server.services.firestore.models import ZoneSettings
from server.services.firestore.service_factory import Stores
from server.services.firestore.zone_settings_store import KeptSettings
from server.services.history.measured import TEMP_MAX, TEMP_MIN
from server.services.ports.documents import AlreadyExists, VersionConflict, Write
from server.services.sse_service.service import SSEService

log = logging.getLogger(__name__)

SET_BY_OPERATORS = ("name", "location", "high_tenths", "low_tenths")


class StaleVersion(Conflict):
    """Another caller changed the zone's settings; `more` has the present ones."""

    error = "Changed by another caller"
    code = "STALE_VERSION"

    def __init__(self, present: ZoneSettingsView) -> None:
        super().__init__(message=f"its version is {present.version}: read it, then change it again")
        self.more = {"zone": present}


class SettingsChange(msgspec.Struct, frozen=True, kw_only=True):
    """The change that an operator asks for; None leaves a text as it is, "" clears it.

    A threshold (tenths of °C) that is missing stays; None stands for the site's.
    With `version`, only the settings of this version are changed.
    """

    name: str | None = None
    location: str | None = None
    high_tenths: int | UnsetType | None = UNSET
    low_tenths: int | UnsetType | None = UNSET
    version: int | None = None

    @property
    def fields(self) -> dict[str, str | int | None]:
        """What to set, by field."""
        texts = {"name": self.name, "location": self.location}
        limits = {"high_tenths": self.high_tenths, "low_tenths": self.low_tenths}
        found: dict[str, str | int | None] = {}
        found |= {field: text for field, text in texts.items() if text is not None}
        found |= {field: limit for field, limit in limits.items() if limit is not UNSET}
        return found


class ZoneSettingsService:
    """Reads and changes the settings of zones."""

    def __init__(
        self, stores: Stores, cache: ZoneCache, sse: SSEService, work: ShieldedTasks, clock: Clock
    ) -> None:
        self._stores = stores
        self._cache = cache
        self._sse = sse
        self._work = work
        self._clock = clock
        # One change per zone at a time in this process; the version guards against others.
        self._locks = KeyedLocks()

    async def get(self, tenant_id: str, device_id: str) -> ZoneSettingsView:
        """The zone's settings. Raises NotFound for an unknown device."""
        return settings_view((await self._known(tenant_id, device_id)).settings)

    async def change(
        self, tenant_id: str, device_id: str, change: SettingsChange, by: str, address: str
    ) -> ZoneSettingsView:
        """Change a zone's settings and return them.

        Raises NotFound for an unknown device, StaleVersion, Invalid for thresholds that exclude
        every temperature, and ZoneBusy; nothing is changed then.
        """
        work = self._change(tenant_id, device_id, change, by, address)
        return settings_view(await self._work.finish(work))

    async def _change(
        self, tenant_id: str, device_id: str, change: SettingsChange, by: str, address: str
    ) -> ZoneSettings:
        async with self._locks.hold((tenant_id, device_id)):
            began_s, attempts = self._clock.monotonic(), 0
            for pause_s in tries(self._clock):
                attempts += 1
                before = await self._known(tenant_id, device_id)
                old = before.settings
                if change.version is not None and change.version != old.version:
                    raise StaleVersion(settings_view(old))
                new = msgspec.structs.replace(old, **change.fields)
                if new == old:
                    return old
                new = _stamped(old, new, self._clock.now_ms(), by)
                write = self._stores.zone_settings.settings_write(new, before)
                try:
                    await self._stores.client.write([write, self._entry(old, new, address)])
                except (VersionConflict, AlreadyExists):
                    await asyncio.sleep(pause_s)
                    continue
                _log_change(old, new, address)
                await self._announce(new)
                return new
        raise given_up(
            f"the settings of zone {device_id} were", attempts, self._clock.monotonic() - began_s
        )

    async def _known(self, tenant_id: str, device_id: str) -> KeptSettings:
        kept = await self._stores.zone_settings.get(tenant_id, device_id)
        if kept.document is None:
            await self._cache.known_zone(tenant_id, device_id)
        return kept

    async def _announce(self, settings: ZoneSettings) -> None:
        view = settings_view(settings)
        event = SettingsEvent(
            device_id=view.device_id,
            name=view.name,
            location=view.location,
            high_tenths=view.high_tenths,
            low_tenths=view.low_tenths,
            version=view.version,
            timestamp=settings.updated_at,
        )
        await self._sse.publish(settings.tenant_id, "settings", event, settings.device_id)

    def _entry(self, old: ZoneSettings, new: ZoneSettings, address: str) -> Write:
        details: dict[str, Any] = {"device_id": new.device_id, "version": new.version}
        for field, (was, now) in _changes(old, new).items():
            details |= {field: now, f"old_{field}": was}
        return self._stores.audit.entry(
            "ZONE_SETTINGS_CHANGE",
            tenant_id=new.tenant_id,
            username=new.updated_by,
            address=address,
            details=details,
        )


def _changes(old: ZoneSettings, new: ZoneSettings) -> dict[str, tuple[Any, Any]]:
    """The texts and thresholds that differ, as they were and as they are."""
    values = {field: (getattr(old, field), getattr(new, field)) for field in SET_BY_OPERATORS}
    return {field: (was, now) for field, (was, now) in values.items() if was != now}


def _stamped(old: ZoneSettings, new: ZoneSettings, now_ms: int, by: str) -> ZoneSettings:
    """The new settings with version and times. Raises Invalid."""
    limits = new.high_tenths, new.low_tenths
    if limits == (old.high_tenths, old.low_tenths):
        limits_at = old.limits_at
    else:
        check_limits(*limits)
        limits_at = now_ms
    return msgspec.structs.replace(
        new, version=old.version + 1, limits_at=limits_at, updated_at=now_ms, updated_by=by
    )


def check_limits(high_tenths: int | None, low_tenths: int | None) -> None:
    """Raise Invalid for thresholds that no temperature can be between."""
    for field, limit in (("high_tenths", high_tenths), ("low_tenths", low_tenths)):
        if limit is not None and not TEMP_MIN <= limit <= TEMP_MAX:
            raise InvalidField(field, f"from {TEMP_MIN} to {TEMP_MAX}, or null")
    if high_tenths is not None and low_tenths is not None and low_tenths >= high_tenths:
        raise InvalidField("low_tenths", "less than high_tenths")


def _log_change(old: ZoneSettings, new: ZoneSettings, address: str) -> None:
    for field, (was, now) in _changes(old, new).items():
        log.info(
            "zone %r of tenant %r: %s %r (before: %r), set by %r from %s",
            new.device_id,
            new.tenant_id,
            field,
            now,
            was,
            new.updated_by,
            address,
        )
