"""After any body the zone is safe: over every path, with a key or without.

Section 6 of the contract: a device that posts gets the safest command that its body allows.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.control.rules.posted_body import is_key
from tests.support.bodies import bodies, measurements, says_good, written, wrong_options
from tests.support.forms import amount
from tests.support.paths import OFF, ON, PATHS, SINGLES, Sender, relays

pytestmark = pytest.mark.sqlite_only("thousands of posts, which differ in what is read alone")
HOT = '{"temp_tenths": 300, "sensor_ok": true}'
FEW = settings(
    max_examples=amount(30, 300),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
each_path = pytest.mark.parametrize("path", PATHS)
each_sender = pytest.mark.parametrize("keyed", [False, True])


@pytest.fixture
async def sender(container, port, path, keyed):
    key = await container.base.admin.register_device("default", "roof") if keyed else None
    return Sender(container, port, path, key)


async def is_on(sender, clock):
    """Switches both relays of the zone on, and waits until the minimum times are over."""
    clock.advance(20)
    assert relays(await sender.commanded(HOT)) == ON
    clock.advance(20)


@each_path
@each_sender
@FEW
@given(body=bodies.filter(lambda body: not says_good(body)), small=st.booleans())
async def test_no_body_that_says_or_implies_a_failed_sensor_leaves_a_relay_on(
    sender, clock, body, small
):
    await is_on(sender, clock)
    assert relays(await sender.commanded(written(body, small))) == OFF


@pytest.fixture
async def pair(container, port, path, keyed):
    """Two devices that post over the same path, each with the fields that name it in a body."""
    if keyed:
        keys = [await container.base.admin.register_device("default", name) for name in "ab"]
        return [(Sender(container, port, path, key), {}) for key in keys]
    return [(Sender(container, port, path), {"device_id": name}) for name in "ab"]


@each_path
@each_sender
@FEW
@given(
    body=measurements.filter(bool), options=wrong_options, small=st.booleans(), hot=st.booleans()
)
async def test_the_command_for_a_body_with_an_invalid_optional_field_is_that_without_the_field(
    pair, clock, body, options, small, hot
):
    temp = 300 if hot else 200
    for one, own in pair:
        await one.commanded(written(own | {"temp_tenths": temp, "sensor_ok": True}))
    clock.advance(20)
    (bare, own), (wrong, its_own) = pair
    expected = await bare.commanded(written(own | body, small))
    command = await wrong.commanded(written(its_own | body | options, small))
    ignored = "key" in options and options["key"] is not None
    assert command.pop("key", "taken") == (
        "ignored" if ignored and not _is_null(options) else "taken"
    )
    assert command == expected


def _is_null(options):
    return written(options["key"]) in {"NaN", "Infinity", "-Infinity", "null"}


@each_path
@each_sender
@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_an_invalid_idempotency_key_is_ignored_and_the_answer_says_so(
    sender, container, clock, key
):
    assert not is_key(key)
    await is_on(sender, clock)
    for body, expected in ((HOT, ON), ('{"sensor_ok": false}', OFF)):
        answer = await sender.post(body, Idempotency_Key=key)
        assert (answer.status, answer.json()["key"]) == (200, "ignored")
        command = answer.json() if sender.path in SINGLES else answer.json()["commands"][0]
        assert relays(command) == expected


# Section 6, each optional field of single posts and of rows.
@each_path
@each_sender
@pytest.mark.parametrize(
    "field",
    [
        '"timestamp": "now"',
        '"timestamp": -1e400',
        '"timestamp": nan',
        '"timestamp": 12345.5',
        '"seq": -1',
        '"seq": "\\ud800"',
        '"key": 7',
        '"key": ""',
        '"age_ms": "old"',
        '"age_ms": -inf',
        '"humidity": [NaN, {"\\udfff": 1e400}]',
        '"x": ' + "9" * 400,
        '"temp_tenths": 300',
        '"seq": 1, "seq": []',
    ],
)
async def test_an_invalid_field_beside_a_good_reading_keeps_no_relay_off(sender, clock, field):
    body = '{"temp_tenths": 300, "sensor_ok": true, %s}'
    assert relays(await sender.commanded(body.replace("%s", field))) == ON


@each_path
@each_sender
async def test_a_fault_cuts_even_under_a_seq_or_a_key_that_was_used_before(sender, clock):
    for field in ('"seq": 7', '"key": "k-1"'):
        good = f'{{"temp_tenths": 300, "sensor_ok": true, {field}}}'
        clock.advance(20)
        assert relays(await sender.commanded(good)) == ON
        assert relays(await sender.commanded(good.replace("true", "false"))) == OFF


@each_path
@each_sender
async def test_a_byte_order_mark_before_a_body_is_ignored(sender, clock):
    await is_on(sender, clock)
    marked = "\ufeff" + '{"temp_tenths": 300, "sensor_ok": 0}'
    answer = await (
        sender.post_whole(b"\xef\xbb\xbf[" + marked[1:].encode() + b"]")
        if sender.path == "json"
        else sender.post(marked)
    )
    command = answer.json() if sender.path in SINGLES else answer.json()["commands"][0]
    assert relays(command) == OFF
