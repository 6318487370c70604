"""NewReading: the ids by which a repeated post is recognised, for any device and tenant names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.control.rules.reading import SEQ_MEMORY_MS, NewReading, announcement_key
from server.services.ports.readings import Reading
from server.services.ports.values import is_id

NOW = 1_790_000_000_000
names = st.text(min_size=1, max_size=20)
measured = st.tuples(st.integers(-550, 1250), st.booleans(), st.none() | st.integers(0, 2**53 - 1))


def new(**more):
    return NewReading(**{"temp_tenths": 235, "sensor_ok": True} | more)


def ids(reading, tenant_id="t", device_id="d", now_ms=NOW):
    return set(reading.source_ids(tenant_id, device_id, now_ms))


def test_posts_without_key_and_seq_have_no_id_in_common():
    assert not new().may_repeat
    assert not ids(new()) & ids(new())


@given(names, names, names, names)
def test_two_zones_never_share_an_id_whatever_their_names_are(t1, d1, t2, d2):
    for reading in (new(key="k"), new(seq=1)):
        shared = ids(reading, t1, d1) & ids(reading, t2, d2)
        assert bool(shared) is ((t1, d1) == (t2, d2))


@given(st.text(min_size=1, max_size=300), st.integers(0, 2**53 - 1))
def test_any_key_or_seq_makes_ids_that_the_store_accepts(key, seq):
    assert all(map(is_id, ids(new(key=key)) | ids(new(seq=seq)) | ids(new())))


@given(st.integers(0, 2**53 - 1), st.text(min_size=1, max_size=20))
def test_a_key_never_makes_the_same_id_as_a_seq(seq, key):
    assert not ids(new(seq=seq)) & ids(new(key=key))


@given(st.integers(0, 10**10))
def test_a_key_is_recognised_for_ever(later_ms):
    reading = new(key="k")
    assert ids(reading) == ids(reading, now_ms=NOW + later_ms)


@given(st.integers(0, SEQ_MEMORY_MS), st.integers(0, SEQ_MEMORY_MS - 1))
def test_a_repeated_seq_is_recognised_at_any_time_within_ten_minutes(start_ms, later_ms):
    first, *_ = new(seq=1).source_ids("t", "d", NOW + start_ms)
    assert first in ids(new(seq=1), now_ms=NOW + start_ms + later_ms)


@given(measured, measured)
def test_two_readings_have_the_same_digest_exactly_when_they_have_the_same_values(one, two):
    digests = [
        new(temp_tenths=temp, sensor_ok=ok, timestamp=at).digest() for temp, ok, at in (one, two)
    ]
    assert (digests[0] == digests[1]) is (one == two)


def test_a_post_is_recognised_by_the_ids_that_earlier_versions_stored():
    keyed = new(temp_tenths=-5, timestamp=1, key="gate_way/1 50%\n12", near="abcdefabcdef")
    assert keyed.source_ids("a_b", "d/1%", NOW) == ["abcdefabcdefa80a922f9e018beea91a"]
    assert keyed.digest() == "87f4dcaccda465153236112cb01feb08"
    counted = new(sensor_ok=False, seq=7)
    assert counted.source_ids("a_b", "d/1%", NOW) == [
        "f755e77ae2782aefc70ca14d845524c9",
        "b2db2712cd89a9729a383132b0e084b6",
    ]
    assert counted.digest() == "70326c8892d265ce8a1258e86aea56bb"


@given(measured, measured, names, names)
def test_two_readings_have_the_same_announcement_key_exactly_when_they_are_the_same(
    one, two, of, other
):
    keys = [
        announcement_key(
            Reading(
                tenant_id="t",
                device_id=device_id,
                timestamp_ms=1,
                temp_tenths=temp,
                setpoint_tenths=230,
                deadband_tenths=10,
                cool_active=True,
                heat_active=True,
                state="COOLING_WITH_LEDS",
                sensor_ok=ok,
                received_ms=at or 0,
                source_digest=new(temp_tenths=temp, sensor_ok=ok, timestamp=at).digest(),
            )
        )
        for (temp, ok, at), device_id in ((one, of), (two, other))
    ]
    assert (keys[0] == keys[1]) is ((one, of) == (two, other))
