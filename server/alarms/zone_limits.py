"""ZoneLimits: which rules each zone's alarms follow, with the thresholds that operators set."""

from __future__ import annotations

from collections.abc import Iterable

from server.alarms.rules import AlarmRules
from server.common.clock import Clock
from server.services.firestore.models import ZoneSettings
from server.services.firestore.zone_settings_store import ZoneSettingsStore

# Changes are read from this long before the newest known one: the clocks of processes differ a bit,
# and a write that is stored later may have an earlier time.
OVERLAP_MS = 60_000


class ZoneLimits:
    """The rules of the site, with a zone's own thresholds in place of the site's.

    They are read again and again, so a change counts some seconds later in all processes.
    """

    def __init__(self, settings: ZoneSettingsStore, rules: AlarmRules, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._newest_ms = 0
        self._own: dict[tuple[str, str], AlarmRules] = {}
        self.site = rules

    def of(self, zone_id: tuple[str, str]) -> AlarmRules:
        """The rules of a tenant's device."""
        return self._own.get(zone_id, self.site)

    @property
    def has_any(self) -> bool:
        """Whether some zone has a threshold for its temperature."""
        site = self.site
        return bool(self._own) or site.high_tenths is not None or site.low_tenths is not None

    async def read(self) -> None:
        """Read what has changed since the last call. Raises StoreUnavailable."""
        since_ms = self._newest_ms - OVERLAP_MS
        if self._newest_ms > self._clock.now_ms():  # the clock was set back: read all
            since_ms = 0
        async for some in self._settings.limits_since(max(since_ms, 0)):
            for settings in some:
                self._take(settings)
                self._newest_ms = max(self._newest_ms, settings.limits_at)

    async def read_again(self, tenant_id: str, device_ids: Iterable[str]) -> None:
        """Read those of these zones that have thresholds: a zone that was deleted has none."""
        known = [one for one in device_ids if (tenant_id, one) in self._own]
        if known:
            for settings in (await self._settings.get_many(tenant_id, known)).values():
                self._take(settings)

    def _take(self, settings: ZoneSettings) -> None:
        key, site = (settings.tenant_id, settings.device_id), self.site
        high, low = settings.high_tenths, settings.low_tenths
        if high is None and low is None:
            self._own.pop(key, None)
            return
        self._own[key] = site._replace(
            high_tenths=site.high_tenths if high is None else high,
            low_tenths=site.low_tenths if low is None else low,
        )
