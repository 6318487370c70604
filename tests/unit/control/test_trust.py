"""Which readings are trusted: outliers, the power-on value of a sensor, two devices on one id."""

from __future__ import annotations

import msgspec
import pytest

from server.control.batch import rounds
from server.control.messages import trust_of
from server.control.rules.belief import Trusting
from server.control.rules.decision import PostedRow, Rules, plan
from server.control.rules.posted_body import Posted, reading_of
from server.control.rules.present import oldest_first
from server.control.rules.setpoint_rules import Setpoints
from server.control.rules.zone_record import Moment
from server.services.firestore.models import ZoneRecord

pytestmark = pytest.mark.sqlite_only("it needs no store")

NOW = 1_790_000_000_000
START_UPTIME_MS = 1e9
# With the default setpoint and deadband the cooler starts above 24.0 °C.
COOL, HOT = 200, 290
OK = "ok"
JUMP, POWER_ON, IMPLAUSIBLE = "suspect jump", "suspect power_on", "suspect implausible"
TWO_SOURCES, UNTRUSTED, STUCK = "suspect two_sources", "fault untrusted", "stuck not_obeyed"
NO_VALUE, SENSOR = "fault no_value", "fault"


DEFAULTS = Trusting()


class Site:
    """A zone whose record is stored and read again between two posts, as by another process."""

    def __init__(self, trusting=DEFAULTS):
        self.rules = Rules(60_000, 300, trusting)
        self.stored = msgspec.json.encode(ZoneRecord(tenant_id="default", device_id="lab"))
        self.at_ms = 0
        self.announced = 0

    @property
    def zone(self):
        return msgspec.json.decode(self.stored, type=ZoneRecord)

    def post(self, *bodies, every_s=2.0, source="10.0.0.1"):
        """Posts `every_s` after the post before: the zone's trust, and whether its cooler is on."""
        self.at_ms += round(every_s * 1000)
        moment = Moment(NOW + self.at_ms, START_UPTIME_MS + self.at_ms, NOW + self.at_ms, "boot")
        rows = [
            PostedRow(index, reading_of(Posted(**{"sensor_ok": True} | body), source=source))
            for index, body in enumerate(bodies)
        ]
        ((share,),) = rounds({"lab": oldest_first(rows, moment.now_ms)}, moment.now_ms)
        done = plan(share, self.zone, Setpoints(), {}, moment, self.rules)
        self.announced += done.zone_changed
        self.stored = msgspec.json.encode(done.zone)
        return self.seen

    def temps(self, *temps, **more):
        """Posts each temperature: the results."""
        return [self.post({"temp_tenths": temp}, **more) for temp in temps]

    @property
    def seen(self):
        trust = trust_of(self.zone)
        return f"{trust.state} {trust.reason or ''}".strip(), self.zone.cool


@pytest.fixture
def site():
    return Site()


@pytest.fixture
def resting(site):
    """A zone whose cooler has been off for longer than its minimum."""
    site.temps(*[COOL] * 8)
    assert site.seen == (OK, False)
    return site


@pytest.mark.parametrize(
    ("temps", "seen"),
    [
        # A spike of one reading, and of two.
        ([850, COOL], [(JUMP, False), (OK, False)]),
        ([600, 610, COOL], [(JUMP, False), (JUMP, False), (OK, False)]),
        # A value that stays is trusted at its third reading, if each is near the one before.
        ([400, 415, 400], [(JUMP, False), (JUMP, False), (OK, True)]),
        ([400, 421, 400], [(JUMP, False)] * 3),
        # An opened door: all changes go in one direction.
        ([350, 420, 500], [(JUMP, False), (JUMP, False), (OK, True)]),
        ([50, 0, -60], [(JUMP, False), (JUMP, False), (OK, False)]),
        ([350, 500, 420], [(JUMP, False)] * 3),
        ([350, 60, -300], [(JUMP, False)] * 3),
        # A change of exactly 10 °C is no jump.
        ([300], [(OK, True)]),
        ([301], [(JUMP, False)]),
        # The power-on value of a DS18B20, however often repeated, confirms nothing.
        ([850, 850, COOL], [(JUMP, False), (JUMP, False), (OK, False)]),
        ([850, 850, 850, 850], [(JUMP, False)] * 4),
        ([848, 850, 849], [(JUMP, False), (JUMP, False), (OK, True)]),
    ],
)
def test_a_jump_switches_no_relay_until_two_more_readings_confirm_it(resting, temps, seen):
    assert resting.temps(*temps) == seen


def test_a_suspect_reading_does_not_stop_a_running_cooler(resting):
    resting.temps(*[HOT] * 6)
    assert resting.temps(-400, 40) == [(JUMP, True), (JUMP, True)]
    assert resting.temps(HOT) == [(OK, True)]


def test_a_sauna_that_heats_up_by_three_degrees_per_post_stays_trusted(site):
    temps = range(200, 1000, 30)
    assert {trust for trust, _ in site.temps(*temps)} == {OK}


def test_the_same_value_for_an_hour_is_no_fault(site):
    assert {trust for trust, _ in site.temps(*[850 - 60] * 1800)} == {OK}


@pytest.mark.parametrize(("every_s", "trust"), [(30, JUMP), (30.1, OK), (600, OK)])
def test_a_difference_is_a_jump_only_within_30_seconds_of_the_last_reading(site, every_s, trust):
    site.temps(COOL)
    assert site.temps(400, every_s=every_s) == [(trust, trust == OK)]


def test_values_that_keep_jumping_stay_suspect_however_long_it_lasts(resting):
    seen = resting.temps(*[400, 700] * 10)
    assert {trust for trust, _ in seen} == {JUMP}


@pytest.mark.parametrize("before", ["never", "fault", "silent"])
def test_85_degrees_as_the_first_value_after_a_pause_is_taken_for_the_power_on_value(site, before):
    if before == "fault":
        site.temps(COOL, None)
    if before == "silent":
        site.temps(COOL)
        zone = msgspec.structs.replace(
            site.zone, trust_state="silent", trusted_ms=NOW, trusted_tenths=COOL
        )
        site.stored = msgspec.json.encode(zone)
        site.at_ms += 600_000
    for trust, cool in site.temps(850, 850, 850):
        assert (trust, cool) == (NO_VALUE if before == "fault" else POWER_ON, False)
    assert site.temps(HOT) == [(OK, True)]


@pytest.mark.parametrize("counts", ["timestamp", "seq"])
def test_85_degrees_after_a_restart_of_the_device_is_taken_for_the_power_on_value(site, counts):
    def post(temp_tenths, number):
        return site.post({"temp_tenths": temp_tenths, counts: number}, every_s=600)

    for number in (1, 2, 3, 4):
        post(COOL, number * 600_000)
    assert post(850, 3_000_000) == (OK, True)
    assert post(COOL, 3_600_000) == (OK, False)
    assert post(850, 2_000) == (POWER_ON, False)
    assert post(850, 602_000) == (UNTRUSTED, False)
    assert post(HOT, 1_202_000) == (OK, True)


def test_a_zone_without_a_trusted_reading_for_a_minute_is_in_fault(resting):
    resting.temps(*[HOT] * 6)
    assert resting.seen == (OK, True)
    for _ in range(29):
        assert resting.temps(850) == [(JUMP, True)]
    assert resting.temps(850, 850) == [(UNTRUSTED, False)] * 2
    assert resting.zone.fault
    # A power-on value does not end the fault; a value near the last trusted one does.
    assert resting.temps(HOT)[0][0] == OK


def test_the_minute_starts_with_the_first_reading_if_none_was_ever_trusted(site):
    assert {trust for trust, _ in site.temps(*[850] * 30)} == {POWER_ON}
    assert site.temps(850) == [(UNTRUSTED, False)]


def test_an_implausible_value_is_never_trusted():
    site = Site(Trusting(-300, 500, 60_000))
    site.temps(COOL)
    assert site.temps(*[501] * 29) == [(IMPLAUSIBLE, False)] * 29
    assert site.temps(501) == [(UNTRUSTED, False)]
    assert site.temps(500, 490, 480)[-1] == (OK, True)


def test_two_devices_with_one_id_at_two_addresses_are_reported_as_two_sources(resting):
    seen = []
    for _ in range(4):
        seen += [*resting.temps(COOL, source="10.0.0.1"), *resting.temps(450, source="10.0.0.2")]
    trusts = [trust for trust, _ in seen]
    assert trusts[:4] == [OK, JUMP, OK, TWO_SOURCES]
    assert set(trusts[4:]) == {TWO_SOURCES}
    assert not any(cool for _, cool in seen)
    # The readings of the first device still decide; once it is alone, it is trusted again.
    assert resting.temps(HOT, source="10.0.0.1") == [(TWO_SOURCES, True)]
    assert resting.temps(*[HOT] * 15, source="10.0.0.1")[-1] == (OK, True)


def test_jumps_of_one_address_are_not_reported_as_two_sources(resting):
    assert {trust for trust, _ in resting.temps(*[COOL, 450] * 8)} == {OK, JUMP}


def test_the_rows_of_a_batch_are_judged_in_their_order(resting):
    def rows(*temps):
        return [{"temp_tenths": temp} for temp in temps]

    assert resting.post(*rows(COOL, COOL, 600)) == (JUMP, False)
    assert resting.post(*rows(605, 610, 600)) == (OK, True)


@pytest.mark.parametrize(
    ("body", "trust"),
    [
        ({"temp_tenths": None}, NO_VALUE),
        ({"temp_tenths": 1, "sensor_ok": False}, SENSOR),
        ({"temp_tenths": 65526}, "fault out_of_range"),
        ({"temp_tenths": -32745}, "fault out_of_range"),
    ],
)
def test_a_fault_has_priority_over_suspicion_and_ends_with_the_first_good_reading(
    resting, body, trust
):
    resting.temps(*[HOT] * 6)
    assert resting.temps(850) == [(JUMP, True)]
    assert resting.post(body) == (trust, False)
    assert resting.temps(HOT)[0][0] == OK


def test_only_a_change_of_trust_is_announced(site):
    site.temps(COOL, COOL, 850, 851, COOL, COOL)
    assert site.announced == 2


# The relays' states as the device reports them.


def test_a_device_that_does_not_obey_for_30_seconds_is_stuck_until_it_obeys(resting):
    resting.temps(HOT)
    assert resting.seen == (OK, True)
    says_off = {"temp_tenths": HOT, "cool_active": False, "heat_active": True}
    seen = [resting.post(says_off) for _ in range(20)]
    assert seen[:14] == [(OK, True)] * 14
    assert seen[14:] == [(STUCK, True)] * 6
    assert resting.post(says_off | {"cool_active": True}) == (OK, True)


def test_a_relay_that_switched_late_still_runs_for_its_minimum_time(resting):
    resting.temps(HOT)
    # The answers were lost for nine seconds.
    resting.post({"temp_tenths": 240, "cool_active": True, "relay_since_ms": 1000}, every_s=9)
    assert resting.temps(230, 230, 230, 230) == [(OK, True)] * 4
    assert resting.temps(230) == [(OK, False)]


def test_a_cooler_that_went_off_unknown_to_the_server_rests_for_its_minimum_time(resting):
    resting.temps(HOT)
    assert resting.temps(*[HOT] * 6)[-1] == (OK, True)
    # Another process, which could tell nobody, cut it half a second before this post.
    body = {"temp_tenths": HOT, "cool_active": False, "relay_since_ms": 500}
    assert resting.post(body) == (OK, False)
    seen = [resting.post(body | {"relay_since_ms": 500 + 2000 * more}) for more in range(1, 6)]
    assert seen == [(OK, False)] * 4 + [(OK, True)]


def test_a_cooler_that_did_not_hear_that_it_was_stopped_runs_for_its_minimum_time(resting):
    resting.temps(HOT)
    assert resting.seen == (OK, True)
    resting.post({"sensor_ok": False}, every_s=1)
    assert resting.seen == ("fault", False)
    # The answer to the fault was lost: the device says so two seconds after its cooler started.
    says_on = {"temp_tenths": COOL, "cool_active": True}
    seen = [resting.post(says_on | {"relay_since_ms": 3000 + 2000 * more}) for more in range(5)]
    assert [on for _, on in seen] == [True] * 4 + [False]


@pytest.mark.parametrize(
    "says",
    [
        {"cool_active": True},
        {"cool_active": True, "relay_since_ms": 500},  # it started after the stop
        {"cool_active": False, "relay_since_ms": 5000},
        {"cool_active": True, "relay_since_ms": 5000, "temp_tenths": 850},  # not believed
    ],
)
def test_a_cooler_that_was_stopped_stays_off_unless_its_device_says_it_has_run_on(resting, says):
    resting.temps(HOT)
    resting.post({"sensor_ok": False}, every_s=1)
    assert resting.post({"temp_tenths": HOT, **says})[1] is False


def test_invalid_relay_states_in_a_post_are_ignored(resting):
    body = {"temp_tenths": COOL, "cool_active": 1, "heat_active": "no", "relay_since_ms": -5}
    assert [resting.post(body) for _ in range(20)] == [(OK, False)] * 20
