"""What was packed is unpacked, and what was not is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.services.history.lines import Jump, Line, restore
from server.services.history.packing import INVALID, Packer, Unpacker, read_number, write_number

COUNT = 5


def packed(*numbers: int, blobs: tuple[bytes, ...] = ()) -> bytes:
    """A pack of these numbers and blobs, whatever they mean."""
    packer = Packer()
    packer.number(*numbers)
    for blob in blobs:
        packer.blob(blob)
    return packer.finish()


@given(st.integers(), st.binary(max_size=3), st.binary(max_size=3))
@settings(max_examples=60)
def test_a_number_of_any_size_is_read_as_it_was_written(number, before, after):
    data = bytearray(before)
    write_number(data, number)
    assert read_number(bytes(data + after), len(before)) == (number, len(data))


@given(st.lists(st.integers() | st.integers(-500, 500)))
@settings(max_examples=60)
def test_integers_of_any_size_are_unpacked_as_they_were_packed(values):
    packer = Packer()
    packer.integers(values)
    unpacker = Unpacker(packer.finish())
    assert unpacker.integers(len(values)) == values
    unpacker.finish()


@pytest.mark.parametrize("blob", [b"", b"noise", b"the same " * 99])
def test_bytes_are_unpacked_as_they_were_packed(blob):
    pack = packed(7, blobs=(blob, b"end"))
    unpacker = Unpacker(pack)
    assert (unpacker.blob(), unpacker.blob(), unpacker.number()) == (blob, b"end", 7)
    unpacker.finish()


def test_bytes_that_repeat_are_compressed():
    assert len(packed(blobs=(b"the same " * 99,))) < 40


@pytest.mark.parametrize(
    "runs",
    [(1, 0, 4), (1, 0, 6), (2, 0, 7, 1, -2), (2, 0, 5, 1, 0), (2, 0, 5), (0,), (2**70, 0, 5)],
    ids=str,
)
def test_runs_that_do_not_make_up_the_column_are_refused(runs):
    with pytest.raises(INVALID):
        Unpacker(packed(*runs)).runs(COUNT, int)


# Stepwise, first value, slope, width, jumps.
@pytest.mark.parametrize("numbers", [(0, 7, 0, 1, 0), (1, 7, 0, 1, 0)], ids=str)
@pytest.mark.parametrize("plane", [b"1234", b"123456"])
def test_a_plane_of_another_length_than_the_column_is_refused(numbers, plane):
    with pytest.raises(INVALID):
        Unpacker(packed(*numbers, blobs=(plane,))).integers(COUNT)


@pytest.mark.parametrize(
    "numbers",
    [
        (0, 7, 0, 3, 0),
        (0, 7, 0, 0, 1, -3, 1),
        (0, 7, 0, 0, 2, 4, 1, -6, 1),
        (0, 7, 0, 0, 1, 0, 1),
        (0, 7, 0, 0, 1, COUNT, 1),
        (0, 7, 0, 0, 1, 2**70, 1),
        (0, 7, 0, 0, 2**70),
        (0, 7, 0),
    ],
    ids=str,
)
def test_a_line_that_fits_no_column_is_refused(numbers):
    planes = (b"12345",) * 3
    with pytest.raises(INVALID):
        Unpacker(packed(*numbers, blobs=planes)).integers(COUNT)


def test_a_count_beyond_all_memory_is_refused():
    with pytest.raises(INVALID):
        Unpacker(packed(0, 7, 0, 0, 0)).integers(2**70)


def test_a_pack_that_is_cut_off_is_refused():
    pack = packed(1, blobs=(b"some bytes",))
    for length in range(len(pack)):
        with pytest.raises(INVALID):
            Unpacker(pack[:length]).blob()


@pytest.mark.parametrize("pack", [packed(1), packed(blobs=(b"",)), packed() + b"\0"])
def test_a_pack_of_which_something_is_left_is_refused(pack):
    with pytest.raises(ValueError, match="follows"):
        Unpacker(pack).finish()


def test_a_line_rises_by_its_slope_and_shifts_at_its_jumps():
    line = Line(False, 100, 3 << 15, 1, [Jump(2, 50), Jump(4, -20)])
    assert restore(line, [b"\0\1\0\1\0\1"], 6) == [100, 102, 153, 155, 136, 138]
