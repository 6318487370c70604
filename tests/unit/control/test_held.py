"""What holds a relay, compared with the rule that decides."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.control.rules.held import FREE, Hold, held
from server.control.rules.relay_rule import Relays, decide
from server.control.rules.setpoint_rules import Setpoints
from server.control.rules.zone_record import Moment
from server.services.firestore.models import ZoneRecord

NOW, UP = 1_790_000_000_000, 3_600_000
MOMENT = Moment(NOW, UP, NOW, "boot")
HOT, COLD = 250, 200


def zone(**about: object) -> ZoneRecord:
    fields: dict[str, object] = {
        **{"last_seen_ms": NOW, "sensor_ok": True, "trust_state": "ok", "heat": True},
        **{"temp_tenths": HOT, "run": "boot"},
        **about,
    }
    return ZoneRecord(tenant_id="t", device_id="d", **fields)  # type: ignore[arg-type]


@given(st.integers(150, 300), st.booleans(), st.one_of(st.none(), st.integers(-12_000, 15_000)))
def test_a_relay_is_held_exactly_as_long_as_the_rule_does_not_switch_it(temp, cool, ago):
    """Negative: the clock went back behind the switch."""
    changed = None if ago is None else UP - ago
    now = held(
        zone(temp_tenths=temp, cool=cool, cool_changed_ms=changed),
        Setpoints(),
        MOMENT,
        store_away=False,
    )

    def after(wait_ms: int) -> bool:
        """Whether the cooler is on after a reading so much later."""
        # The rule has seen the clock go back at the reading before.
        relays = Relays(cool, True, False, None if changed is None else min(changed, UP))
        decided = decide(
            relays,
            temp_tenths=temp,
            sensor_ok=True,
            setpoint_tenths=230,
            deadband_tenths=10,
            now_ms=UP + wait_ms,
        )
        return decided.cool

    wanted = temp > 240
    if now is FREE:
        assert after(0) == wanted
        return
    assert now.by == ("minimum_on_time" if cool else "minimum_off_time")
    assert now.until_ms is not None
    assert after(now.until_ms - NOW) == wanted != cool
    assert after(now.until_ms - NOW - 1) == cool


@pytest.mark.parametrize(
    ("about", "away", "by"),
    [
        ({"last_seen_ms": 0}, True, None),
        ({"cool": True}, True, None),
        ({}, True, "store_away"),
        ({"cool": True, "heat": False}, True, "store_away"),
        ({"cool": True, "temp_tenths": COLD}, True, None),
        ({"trust_state": "suspect"}, False, "untrusted"),
        ({"trust_state": "suspect", "cool": True}, False, None),
        ({"trust_state": "silent", "cool": True, "temp_tenths": COLD}, False, "silent"),
        ({"trust_state": "refused"}, True, "refused"),
        ({"trust_state": "stuck", "cool": True}, False, "stuck"),
        ({"fault": True, "sensor_ok": False, "fault_reason": "no_value"}, True, "fault"),
        ({"fault": True, "sensor_ok": False, "fault_reason": "untrusted"}, False, "untrusted"),
    ],
)
def test_what_holds_a_relay_for_other_reasons_has_no_time(about, away, by):
    assert held(zone(**about), Setpoints(), MOMENT, store_away=away) == Hold(by)


def test_after_a_restart_of_the_machine_the_wall_clock_counts():
    stopped = zone(run="before", cool_changed_ms=5, cool_changed_wall_ms=NOW - 3000)
    found = held(stopped, Setpoints(), MOMENT, store_away=False)
    assert found == Hold("minimum_off_time", NOW + 7000)
    started = msgspec.structs.replace(stopped, cool=True)
    assert held(started, Setpoints(), MOMENT, store_away=False) is FREE
