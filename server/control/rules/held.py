"""Says what holds a zone's relays against what its temperature wants, and until when. Pure."""

from __future__ import annotations

from typing import NamedTuple

from server.control.messages import relays_on
from server.control.rules.relay_rule import MIN_OFF_MS, MIN_ON_MS
from server.control.rules.setpoint_rules import Setpoints
from server.control.rules.zone_record import Moment
from server.services.firestore.models import ZoneRecord


class Hold(NamedTuple):
    """What holds a relay, and until when: Unix ms, None where the clock alone does not end it."""

    by: str | None = None
    until_ms: int | None = None


FREE = Hold()


def held(zone: ZoneRecord, values: Setpoints, moment: Moment, *, store_away: bool) -> Hold:
    """What holds the zone's relays now; FREE if they are as the temperature wants, or will be soon.

    `fault` and `untrusted` hold both relays off. The others hold the cooler as it is, or a relay
    off: `stuck` (the device does not obey), `silent` and `refused` (no reading comes), `untrusted`
    (the reading is not believed), `store_away` (nothing is switched on), `minimum_on_time` and
    `minimum_off_time`. Where nothing holds a relay that should switch, the next reading does it.
    """
    if not zone.last_seen_ms:
        return FREE
    if zone.fault:
        return Hold("untrusted" if zone.fault_reason == "untrusted" else "fault")
    if zone.trust_state == "stuck":
        return Hold("stuck")
    if zone.temp_tenths is None or not zone.sensor_ok:
        return FREE
    wanted = zone.temp_tenths > values.setpoint_tenths + values.deadband_tenths
    if wanted == zone.cool and zone.heat:
        return FREE
    if zone.trust_state in ("silent", "refused"):
        return Hold(zone.trust_state)
    if zone.trust_state == "suspect":
        return Hold("untrusted")
    if store_away and (not zone.heat or wanted > zone.cool):
        return Hold("store_away")
    return FREE if wanted == zone.cool else _by_minimum_time(zone, moment)


def _by_minimum_time(zone: ZoneRecord, moment: Moment) -> Hold:
    relays = relays_on(zone, moment.boot, uptime_ms=moment.uptime_ms, now_ms=moment.now_ms)
    if relays.cool_changed_ms is None:
        return FREE
    by, wait_ms = "minimum_off_time", MIN_OFF_MS
    if zone.cool:
        by, wait_ms = "minimum_on_time", MIN_ON_MS
    # If the clock went back behind the switch, the rule starts the minimum time again.
    since_ms = max(0.0, moment.uptime_ms - relays.cool_changed_ms)
    if since_ms >= wait_ms:
        return FREE
    return Hold(by, moment.now_ms + round(wait_ms - since_ms))
