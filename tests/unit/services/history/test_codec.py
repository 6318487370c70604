"""A block gives back the readings that were encoded, is small, and shows that it is damaged."""

from __future__ import annotations

import random
import zlib
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from itertools import accumulate

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from server.services.history.codec import (
    DamagedBlock,
    decode,
    decode_samples,
    decode_setpoints,
    decode_times,
    encode,
)
from server.services.history.columns import COOL, PRESENT, SENSOR_OK, Columns, Texts
from server.services.history.packing import read_number, write_number

LEAST, GREATEST = -(2**63), 2**63 - 1
START = 1_764_460_800_123

integers = st.integers(LEAST, GREATEST) | st.integers(-300, 300)
# Between times: as usual, none, a gap, any.
steps = st.integers(1950, 2050) | st.just(0) | st.integers(0, 10**6) | st.integers(0, 2**57)
words = st.sampled_from(["IDLE", "COOLING", ""]) | st.text(st.characters(codec=None), max_size=5)

DECODERS = (decode, decode_samples, decode_setpoints, partial(decode_times, first=0))


@st.composite
def any_columns(draw) -> Columns:
    """Up to 160 readings with any values, of which many repeat."""
    count, times = draw(st.integers(0, 20)), draw(st.integers(1, 8))

    def column(values):
        return draw(st.lists(values, min_size=count, max_size=count)) * times

    start = draw(st.integers(LEAST, LEAST + 2**62) | st.just(START))
    ascending = list(accumulate(column(steps), initial=start))[1:]
    return Columns(
        times=ascending,
        temps=column(draw(st.sampled_from([st.integers(-20, 20), st.none() | integers]))),
        setpoints=column(integers),
        deadbands=column(integers),
        flags=column(st.integers(0, 15) | integers),
        texts=column(st.builds(Texts, words, words, words)),
        ticks=column(draw(st.sampled_from([st.none(), integers, st.none() | integers]))),
        device_times=column(st.none() | integers),
        received=ascending,
    )


def usual(count: int, *, has_clock: bool = True) -> Columns:
    """Readings as a device sends them every 2 s, with noise, jitter and a relay."""
    rng = random.Random(count)
    times = [START + 2000 * row + rng.randint(-50, 50) for row in range(count)]
    ticks = [77_000 + 2000 * row + rng.randint(-50, 50) for row in range(count)]
    cools = [row // 200 % 2 == 1 for row in range(count)]
    walk = accumulate((-0.04 if cool else 0.04 for cool in cools), initial=230.0)
    return Columns(
        times=times,
        temps=[round(rng.gauss(temp, 0.8)) for temp, _ in zip(walk, times, strict=False)],
        setpoints=[230] * count,
        deadbands=[10] * count,
        flags=[PRESENT + SENSOR_OK + COOL * cool for cool in cools],
        texts=[Texts("COOLING" if cool else "IDLE") for cool in cools],
        ticks=[None] * count if has_clock else [*ticks],
        device_times=[None] * count,
        received=times,
    )


def sealed(body: bytes) -> bytes:
    """The body of a block with the checksum that belongs to it."""
    return body + zlib.crc32(body).to_bytes(4, "little")


@given(any_columns())
@settings(max_examples=40)
@example(Columns())
@example(usual(1))
@example(usual(1000))
@example(usual(1000, has_clock=False))
def test_readings_are_decoded_as_they_were_encoded(columns):
    block = encode(columns)
    assert decode(block) == columns
    assert decode_samples(block) == (columns.times, columns.temps, columns.flags)
    pairs = list(zip(columns.setpoints, columns.deadbands, strict=True))
    runs = [n for n in range(len(pairs)) if n == 0 or pairs[n] != pairs[n - 1]]
    assert decode_setpoints(block) == [(n, *pairs[n]) for n in runs]
    for first in runs:
        assert decode_times(block, first) == columns.times[first:]


@given(any_columns(), st.integers(0, 12))
@settings(max_examples=40)
@example(usual(1000), 2)
@example(usual(1000, has_clock=False), 300)
def test_the_last_samples_are_those_at_the_end_of_all(columns, last):
    block = encode(columns)
    ends = [values[max(0, len(columns) - last) :] for values in columns.samples()]
    assert list(decode_samples(block, last)) == ends


@given(st.lists(st.integers(0, 700), min_size=2), st.lists(st.integers(-(10**5), 10**5)))
@settings(max_examples=60)
def test_jitter_and_gaps_of_any_width_are_exact(jitters, jumps):
    times = [START + 2000 * row + jitter for row, jitter in enumerate(jitters * 4)]
    for place, jump in enumerate(jumps, 7):
        at = place * 31 % len(times)
        times[at:] = [time + jump for time in times[at:]]
    columns = replace(usual(len(times)), times=times, received=times, ticks=times[::-1])
    assert decode(encode(columns)) == columns


def test_half_of_a_surrogate_pair_is_kept():
    columns = replace(usual(2), texts=[Texts("\ud83d\ude00"), Texts("\U0001f600", "", "\udfff")])
    assert decode(encode(columns)) == columns


def test_the_time_of_receipt_becomes_that_of_the_reading():
    columns = usual(3)
    late = replace(columns, received=[time + 150 for time in columns.times])
    assert decode(encode(late)) == columns


@pytest.mark.parametrize("name", [field.name for field in fields(Columns)])
def test_a_column_shorter_than_the_others_is_refused(name):
    columns = usual(5)
    with pytest.raises(ValueError, match="equal length"):
        encode(replace(columns, **{name: getattr(columns, name)[:-1]}))


@pytest.mark.parametrize(("has_clock", "at_most"), [(True, 1.3), (False, 2.2)])
def test_two_hours_of_readings_are_small(has_clock, at_most):
    assert len(encode(usual(3600, has_clock=has_clock))) / 3600 < at_most


def test_times_whose_jitter_adds_up_are_as_small():
    columns = usual(3600)
    jitter = accumulate(random.Random(1).randint(-50, 50) for _ in columns.times)
    times = [START + 2000 * row + moved for row, moved in enumerate(jitter)]
    assert len(encode(replace(columns, times=times))) < 1.3 * 3600


def test_a_temperature_that_moves_steadily_takes_next_to_nothing():
    columns = usual(3600)
    steady, moving = [230] * 3600, [230 + abs(row % 180 - 90) for row in range(3600)]
    size = len(encode(replace(columns, temps=steady)))
    assert len(encode(replace(columns, temps=moving))) < size + 300


def test_ticks_that_follow_the_times_take_next_to_nothing():
    columns = usual(3600)
    ticks = [time - START + 77_000 - row % 3 // 2 for row, time in enumerate(columns.times)]
    assert len(encode(replace(columns, ticks=ticks))) < len(encode(columns)) + 800


def test_a_gap_costs_a_few_bytes_and_not_another_byte_for_each_reading():
    columns = usual(3600)
    times = [time + 600_000 * (row // 900) for row, time in enumerate(columns.times)]
    assert len(encode(replace(columns, times=times))) < len(encode(columns)) + 60


def test_a_day_of_a_device_that_reports_every_ten_minutes_is_small():
    columns = usual(144)
    times = [START + 600_000 * row + (time - START) % 50 for row, time in enumerate(columns.times)]
    assert len(encode(replace(columns, times=times))) < 144 * 3


@pytest.mark.parametrize("has_clock", [True, False])
def test_a_changed_byte_is_noticed(has_clock):
    block = encode(usual(40, has_clock=has_clock))
    for place in range(len(block)):
        for change in (1, 128, 255):
            damaged = bytearray(block)
            damaged[place] ^= change
            for decoded in DECODERS:
                with pytest.raises(DamagedBlock):
                    decoded(bytes(damaged))


def test_a_block_of_another_length_is_noticed():
    block = encode(usual(40))
    for other in (*(block[:length] for length in range(len(block))), block + b"\0", block * 2):
        for decoded in DECODERS:
            with pytest.raises(DamagedBlock):
                decoded(other)


def test_a_block_that_was_encoded_wrongly_is_damaged_and_no_other_error():
    body = encode(usual(40, has_clock=False))[:-4]
    others = [body[:length] for length in range(len(body))] + [body + b"\0"]
    for place in range(len(body)):
        others += [body[:place] + bytes([change]) + body[place + 1 :] for change in (0, 3, 255)]
    damaged = 0
    for other in others:
        with suppress(DamagedBlock):
            decode_setpoints(sealed(other))
        try:
            columns = decode(sealed(other))
        except DamagedBlock:
            damaged += 1
        else:
            lengths = {len(getattr(columns, field.name)) for field in fields(columns)}
            assert len(lengths) == 1
    assert damaged > len(others) / 2


def test_the_samples_do_not_depend_on_the_other_columns():
    block = encode(usual(40))
    spoiled = sealed(block[:-8])
    assert decode_samples(spoiled) == decode_samples(block)
    with pytest.raises(DamagedBlock):
        decode(spoiled)


@pytest.mark.parametrize("count", [-1, 41, 2**60, 2**70])
@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_wrong_count_is_damage_and_takes_no_memory(count, is_sealed):
    block = encode(usual(40))
    body = bytearray(block[:1])
    write_number(body, count)
    body += block[2:-4]
    forged = sealed(bytes(body)) if is_sealed else bytes(body) + block[-4:]
    with pytest.raises(DamagedBlock):
        decode(forged)
    with pytest.raises(DamagedBlock):
        decode_samples(forged)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_block_that_ends_in_its_head_is_damaged(cut):
    with pytest.raises(DamagedBlock):
        decode_samples(sealed(encode(usual(40))[:cut]))


@pytest.mark.parametrize("change", [-1, 1, -(10**9), 10**9])
def test_a_wrong_length_of_the_first_pack_is_damage(change):
    block = encode(usual(40))
    length, after = read_number(block, 2)
    body = bytearray(block[:2])
    write_number(body, length + change)
    forged = sealed(bytes(body) + block[after:-4])
    for decoded in (decode, decode_samples):
        with pytest.raises(DamagedBlock):
            decoded(forged)


def test_bytes_after_the_last_column_are_damage():
    with pytest.raises(DamagedBlock, match="last column"):
        decode(sealed(encode(usual(40))[:-4] + b"\0"))


def test_an_unknown_version_is_named():
    block = encode(usual(2))
    with pytest.raises(DamagedBlock, match="version 1"):
        decode(sealed(b"\2" + block[1:-4]))
