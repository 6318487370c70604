"""The firmware in the field on a real MicroPython: after each mishap, what its relay pins are."""

from __future__ import annotations

import itertools
import json
import time

import pytest

from tests.support.micropython import MicroPythonPico, need_micropython
from tests.support.process import ServerProcess
from tests.support.readings import telemetry
from tests.support.spoiling_proxy import SpoilingProxy

# The pins of cooler and heat. With the defaults 24.0 degrees is the last without cooling.
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
    """A bad line to the server, good until a test spoils it."""
    with SpoilingProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def pico(line):
    with MicroPythonPico(line.port) as device:
        yield device


def test_it_sends_the_bytes_of_the_contract_but_for_the_order_of_keys(pico, line):
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
    # MicroPython's dictionaries are in the order of their hashes.
    pairs = ['"sensor_ok": true', '"temp_tenths": 300', '"timestamp": 0']
    assert sorted(sent.strip("{}").split(", ")) == pairs


def test_its_pins_follow_the_commands(pico):
    mild = pico.reads(MILD)
    assert (mild.obeyed, mild.pins, mild.changed) == (True, HEAT, ["heat"])
    warm = pico.reads(WARM)
    assert (warm.obeyed, warm.pins, warm.changed) == (True, BOTH, ["cool"])


def test_a_sensor_that_is_missing_at_power_on_leaves_the_pins_off(pico, line, server):
    for _ in range(3):
        missing = pico.reads("unplugged")
        assert '"temp_tenths": null' in missing.sent
        assert missing.obeyed, line.let_through[-1]
        assert (missing.pins, missing.changed) == (OFF, [])
    rows = telemetry(server, server.password)
    assert [(row["temp_tenths"], row["sensor_ok"]) for row in rows] == [(None, False)] * 3


def test_unplugging_the_sensor_while_it_cools_switches_both_pins_off_in_that_cycle(pico, line):
    assert pico.reads(WARM).pins == BOTH
    unplugged = pico.reads("unplugged")
    assert unplugged.obeyed, line.let_through[-1]
    assert (unplugged.pins, sorted(unplugged.changed)) == (OFF, ["cool", "heat"])


def test_crc_errors_cut_at_once_and_the_cooler_rests_its_minimum_time_after_the_first(line):
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


def test_the_power_on_value_of_85_degrees_starts_nothing(pico):
    power_on = pico.reads(850)
    assert (power_on.obeyed, power_on.pins) == (True, OFF)
    assert pico.reads(MILD).pins == HEAT
    assert pico.reads(850).pins == HEAT


@pytest.mark.parametrize(("value", "written"), [(-1270, "-1270"), ("nan", "nan")])
def test_a_value_that_no_sensor_measures_switches_both_pins_off_though_it_says_ok(
    pico, line, value, written
):
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
    """Its pins were off meanwhile. The server cannot see that, and grants the cooler no rest."""
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


def test_an_answer_after_six_seconds_is_not_obeyed_and_the_next_one_is(pico, line):
    assert pico.reads(MILD).pins == HEAT
    line.hold_s = 6.0
    began = time.monotonic()
    late = pico.reads(WARM)
    assert time.monotonic() - began >= 5
    # The server believes that it cools from now on.
    assert (late.obeyed, late.pins, late.changed) == (False, HEAT, [])
    line.hold_s = 0.0
    assert pico.reads(WARM).pins == BOTH


def test_an_answer_that_is_cut_leaves_the_pins_as_they_were(pico, line):
    """From "200 OK" on it would be obeyed, but what there is of the command is no JSON."""
    assert pico.reads(MILD).pins == HEAT
    for cut_after in (b"1.1 200 O", b"200 OK", b"\r\n\r\n", b'"cool_active":true', b'active":'):
        line.cut_after = cut_after
        half = pico.reads(WARM)
        assert line.let_through[-1].endswith(cut_after)
        assert (half.obeyed, half.pins, half.changed) == (False, HEAT, []), cut_after
    line.cut_after = None
    assert pico.reads(WARM).pins == BOTH


def test_while_answers_to_faults_are_lost_the_cooler_runs_on(pico, line):
    assert pico.reads(WARM).pins == BOTH
    line.cut_after = b""
    for _ in range(3):
        unheard = pico.reads("unplugged")
        assert (unheard.obeyed, unheard.pins) == (False, BOTH)
    assert line.let_through[-3:] == [b""] * 3
    line.cut_after = None
    heard = pico.reads("unplugged")
    assert heard.obeyed, line.let_through[-1]
    assert heard.pins == OFF


def test_when_the_server_is_dead_the_pins_stay_as_they_were_for_ever(server):
    """Whatever the sensor says: the firmware has no rule of its own. The server cannot help it."""
    with MicroPythonPico(server.port) as pico:
        assert pico.reads(WARM).pins == BOTH
        server.kill()
        for value in [WARM, 0, "unplugged"] * 5:
            alone = pico.reads(value)
            assert (alone.obeyed, alone.pins, alone.changed) == (False, BOTH, [])
