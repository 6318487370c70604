"""The control rule, with arbitrary readings and times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.control.rules.relay_rule import MIN_OFF_MS, MIN_ON_MS, Relays, decide

steps = st.lists(
    st.tuples(
        st.integers(-550, 1250),
        st.booleans(),
        st.integers(100, 400),
        st.integers(0, 50),
        st.one_of(st.integers(0, 30_000), st.integers(-3_600_000, 3_600_000)),
    ),
    max_size=60,
)


def play(script, start_ms=1_790_000_000_000):
    """The relays before and after each step, with its time and whether the sensor was good."""
    relays, now = Relays(), start_ms
    for temp, ok, setpoint, deadband, wait in script:
        now += wait
        before = relays
        relays = decide(
            relays,
            temp_tenths=temp,
            sensor_ok=ok,
            setpoint_tenths=setpoint,
            deadband_tenths=deadband,
            now_ms=now,
        )
        yield now, ok, before, relays


@given(steps)
def test_no_switch_breaks_a_minimum_time_while_the_clock_runs_forward(script):
    switched_ms = None
    forward = [(*step[:4], abs(step[4])) for step in script]
    for now, ok, before, after in play(forward):
        if after.cool != before.cool:
            if switched_ms is not None and ok:
                assert now - switched_ms >= (MIN_ON_MS if before.cool else MIN_OFF_MS)
            switched_ms = now


@given(steps)
def test_a_fault_cuts_both_relays_at_once_whatever_happened_before(script):
    for _, ok, _, after in play(script):
        if not ok:
            assert (after.cool, after.heat, after.state) == (False, False, "FAULT")
        else:
            assert after.heat
            assert after.state in {"COOLING_WITH_LEDS", "IDLE_WITH_LEDS"}


@given(steps, st.integers(0, 3_600_000))
def test_a_clock_that_is_set_back_never_extends_a_cooler_s_minimum_time(script, back):
    played = list(play(script))
    now, _, _, relays = played[-1] if played else (1_790_000_000_000, True, None, Relays())
    cold = {"temp_tenths": -550, "sensor_ok": True, "setpoint_tenths": 230, "deadband_tenths": 10}
    now -= back
    relays = decide(relays, now_ms=now, **cold)
    assert not decide(relays, now_ms=now + MIN_ON_MS, **cold).cool


def test_the_cooler_starts_above_setpoint_plus_deadband_and_not_at_it():
    at = {"sensor_ok": True, "setpoint_tenths": 230, "deadband_tenths": 10, "now_ms": 1}
    assert not decide(Relays(), temp_tenths=240, **at).cool
    assert decide(Relays(), temp_tenths=241, **at).cool


def test_a_fault_does_not_shorten_the_minimum_off_time():
    hot = {"temp_tenths": 300, "setpoint_tenths": 230, "deadband_tenths": 10}
    running = decide(Relays(), sensor_ok=True, now_ms=100_000, **hot)
    cut = decide(running, sensor_ok=False, now_ms=101_000, **hot)
    assert not decide(cut, sensor_ok=True, now_ms=101_000 + MIN_OFF_MS - 1, **hot).cool
    assert decide(cut, sensor_ok=True, now_ms=101_000 + MIN_OFF_MS, **hot).cool
