"""The firmware on a real MicroPython: the state of its relay pins after each kind of failure."""

from __future__ import annotations

import itertools
import json
import time

import pytest

from tests.support.micropython import MicroPythonPico, need_micropython
from tests.support.readings import telemetry
from tests.support.spoiling_proxy import SpoilingProxy
from tools.process import ServerProcess

# The pins of cooler and heater. With the default settings the cooler starts above 24.0 °C.
OFF = (False, False)
HEAT = (False, True)
BOTH = (True, True)
WARM = 300
MILD = 235
MIN_OFF_S = 10.0
TICKS_MAX = 2**30


@pytest.fixture(autouse=True)
def _micropython():
    need_micropython()


@pytest.fixture
def server(tmp_path):
    with ServerProcess(tmp_path) as running:
        yield running


@pytest.fixture
def line(server):
    """A connection to the server that works until the test disturbs it."""
    with SpoilingProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def pico(line):
    with MicroPythonPico(line.port) as device:
        yield device


def test_the_firmware_sends_the_bytes_of_the_contract_with_its_keys_in_any_order(pico, line):
    sent = pico.reads(WARM).sent
    assert line.requests == [
        b"POST /api/sensor_data HTTP/1.1\r\n"
        b"Host: 127.0.0.1:%d\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: %d\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b"%s" % (line.port, len(sent), sent.encode())
    ]
    # MicroPython orders the keys of a dictionary by their hashes.
    pairs = ['"sensor_ok": true', '"temp_tenths": 300', '"timestamp": 0']
    assert sorted(sent.strip("{}").split(", ")) == pairs


def test_the_pins_follow_the_commands(pico):
    mild = pico.reads(MILD)
    assert (mild.obeyed, mild.pins, mild.changed) == (True, HEAT, ["heat"])
    warm = pico.reads(WARM)
    assert (warm.obeyed, warm.pins, warm.changed) == (True, BOTH, ["cool"])


def test_the_pins_stay_off_if_the_sensor_is_missing_at_power_on(pico, line, server):
    for _ in range(3):
        missing = pico.reads("unplugged")
        assert '"temp_tenths": null' in missing.sent
        assert missing.obeyed, line.let_through[-1]
        assert (missing.pins, missing.changed) == (OFF, [])
    rows = telemetry(server, server.password)
    assert [(row["temp_tenths"], row["sensor_ok"]) for row in rows] == [(None, False)] * 3


def test_unplugging_the_sensor_during_cooling_switches_both_pins_off_in_that_cycle(pico, line):
    assert pico.reads(WARM).pins == BOTH
    unplugged = pico.reads("unplugged")
    assert unplugged.obeyed, line.let_through[-1]
    assert (unplugged.pins, sorted(unplugged.changed)) == (OFF, ["cool", "heat"])


def test_a_crc_error_stops_the_cooler_and_later_errors_do_not_extend_its_minimum_rest(line):
    with MicroPythonPico(line.port, cycle_ms=300) as pico:
        assert pico.reads(WARM).pins == BOTH
        before = time.monotonic()
        assert pico.reads("crc").pins == OFF, line.let_through[-1]
        for value in itertools.cycle([WARM, WARM, WARM, "crc"]):
            now = pico.reads(value)
            assert now.obeyed
            if now.cool:
                break
            assert now.pins == (OFF if value == "crc" else HEAT)
            assert time.monotonic() - before < 2 * MIN_OFF_S, "each error began the time anew"
        assert time.monotonic() - before >= MIN_OFF_S
        assert pico.reads("crc").pins == OFF


def test_the_sensors_power_on_value_of_85_degrees_does_not_start_the_cooler(pico):
    power_on = pico.reads(850)
    assert (power_on.obeyed, power_on.pins) == (True, OFF)
    assert pico.reads(MILD).pins == HEAT
    assert pico.reads(850).pins == HEAT


@pytest.mark.parametrize(("value", "written"), [(-1270, "-1270"), ("nan", "nan")])
def test_an_impossible_value_with_sensor_ok_true_switches_both_pins_off(pico, line, value, written):
    assert pico.reads(WARM).pins == BOTH
    wrong = pico.reads(value)
    assert f'"temp_tenths": {written}' in wrong.sent
    assert '"sensor_ok": true' in wrong.sent
    assert wrong.obeyed, line.let_through[-1]
    assert wrong.pins == OFF


def test_ticks_that_wrap_between_two_posts_change_nothing(server):
    began = time.time_ns() // 1_000_000
    with MicroPythonPico(server.port, ticks=TICKS_MAX - 1, cycle_ms=1) as pico:
        last, first = pico.reads(WARM), pico.reads(WARM)
    ended = time.time_ns() // 1_000_000
    assert (last.pins, first.pins, first.changed) == (BOTH, BOTH, [])
    ticks = [json.loads(cycle.sent)["timestamp"] for cycle in (last, first)]
    assert ticks[0] == TICKS_MAX - 1
    assert 0 <= ticks[1] < 20_000
    rows = telemetry(server, server.password)[::-1]
    assert [row["device_ticks_ms"] for row in rows] == ticks
    assert began <= rows[0]["timestamp"] <= rows[1]["timestamp"] <= ended


def test_a_device_that_restarts_obeys_the_command_in_force_at_once(server):
    """Its pins were off during the restart. The server cannot know that, so it demands no rest."""
    with MicroPythonPico(server.port, ticks=500_000) as pico:
        assert pico.reads(WARM).pins == BOTH
    with MicroPythonPico(server.port, ticks=0) as pico:
        again = pico.reads(WARM)
    assert (again.pins, again.changed) == (BOTH, ["cool", "heat"])
    rows = telemetry(server, server.password)
    assert [row["device_ticks_ms"] for row in rows] == [0, 500_000]


def test_an_answer_after_three_seconds_is_obeyed(pico, line):
    line.hold_s = 3.0
    late = pico.reads(WARM)
    assert (late.obeyed, late.pins) == (True, BOTH)


def test_an_answer_after_six_seconds_is_ignored_and_the_next_one_is_obeyed(pico, line):
    assert pico.reads(MILD).pins == HEAT
    line.hold_s = 6.0
    began = time.monotonic()
    late = pico.reads(WARM)
    assert time.monotonic() - began >= 5
    # From now on the server assumes that the cooler runs.
    assert (late.obeyed, late.pins, late.changed) == (False, HEAT, [])
    line.hold_s = 0.0
    assert pico.reads(WARM).pins == BOTH


def test_an_answer_that_is_cut_leaves_the_pins_as_they_were(pico, line):
    """The firmware obeys any answer with "200 OK", but a truncated command is not valid JSON."""
    assert pico.reads(MILD).pins == HEAT
    for cut_after in (b"1.1 200 O", b"200 OK", b"\r\n\r\n", b'"cool_active":true', b'active":'):
        line.cut_after = cut_after
        half = pico.reads(WARM)
        assert line.let_through[-1].endswith(cut_after)
        assert (half.obeyed, half.pins, half.changed) == (False, HEAT, []), cut_after
    line.cut_after = None
    assert pico.reads(WARM).pins == BOTH


def test_the_cooler_runs_on_as_long_as_the_answers_to_faults_are_lost(pico, line):
    assert pico.reads(WARM).pins == BOTH
    line.cut_after = b""
    for _ in range(3):
        unanswered = pico.reads("unplugged")
        assert (unanswered.obeyed, unanswered.pins) == (False, BOTH)
    assert line.let_through[-3:] == [b""] * 3
    line.cut_after = None
    answered = pico.reads("unplugged")
    assert answered.obeyed, line.let_through[-1]
    assert answered.pins == OFF


def test_the_pins_keep_their_state_for_ever_if_the_server_is_dead(server):
    """The firmware has no control rule, so no value of the sensor changes the pins."""
    with MicroPythonPico(server.port) as pico:
        assert pico.reads(WARM).pins == BOTH
        server.kill()
        for value in [WARM, 0, "unplugged"] * 5:
            alone = pico.reads(value)
            assert (alone.obeyed, alone.pins, alone.changed) == (False, BOTH, [])
