"""Encodes the readings of one device as a block of bytes, and decodes it; pure.

A block is a version, the count of readings, the length of the first pack, two packs and a CRC-32
of all bytes before it. The first pack holds what charts and sums need (times, temperatures, flags),
so that they need not decode the second. `received` is not kept: after decoding it is the time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sized
from dataclasses import fields
from itertools import accumulate, compress
from operator import add, sub
from typing import NamedTuple, cast

from server.services.history.columns import Columns, Samples, Texts
from server.services.history.lines import fit
from server.services.history.packing import INVALID, Packer, Unpacker, read_number, write_number

VERSION = 1
CRC_BYTES = 4
# This many rows show whether ticks follow the times of receipt.
ROWS_TO_COMPARE = 256


class DamagedBlock(ValueError):
    """Bytes that are not a whole block as it was encoded."""

    def __init__(self, why: object) -> None:
        super().__init__(f"a block of readings is damaged: {why}")
        self.why = why


class SetpointRun(NamedTuple):
    """The setpoint and deadband of the readings from an index (`first`) on, in tenths of °C."""

    first: int
    setpoint: int
    deadband: int


def encode(columns: Columns) -> bytes:
    """A block of these readings."""
    if any(len(column) != len(columns) for column in _columns(columns)):
        raise ValueError("the columns of readings are not of equal length")
    samples, others = Packer(), Packer()
    samples.integers(columns.times)
    samples.integers(samples.present(columns.temps))
    samples.runs(columns.flags, int)
    others.runs(columns.setpoints, int)
    others.runs(columns.deadbands, int)
    _add_texts(others, columns.texts)
    _add_times(others, columns.ticks, columns.times)
    _add_times(others, columns.device_times, columns.times)
    first = samples.finish()
    block = bytearray((VERSION,))
    write_number(block, len(columns))
    write_number(block, len(first))
    block += first
    block += others.finish()
    block += zlib.crc32(block).to_bytes(CRC_BYTES, "little")
    return bytes(block)


def decode(body: bytes) -> Columns:
    """The readings of a block; raises DamagedBlock."""
    count, start, end = _opened(body)
    try:
        samples = _samples(body[start:end], count)
        others = Unpacker(body[end:-CRC_BYTES])
        columns = Columns(
            times=samples.times,
            temps=samples.temps,
            flags=samples.flags,
            setpoints=others.runs(count, int),
            deadbands=others.runs(count, int),
            texts=_texts(others, count),
            ticks=_times(others, samples.times),
            device_times=_times(others, samples.times),
            received=samples.times.copy(),
        )
        others.finish()
    except INVALID as error:
        raise DamagedBlock(error) from error
    return columns


def decode_samples(body: bytes, last: int | None = None) -> Samples:
    """The times, temperatures and flags of a block, or of so many `last` readings of it.

    Few readings take a tenth of the time. Raises DamagedBlock.
    """
    count, start, end = _opened(body)
    try:
        return _samples(body[start:end], count, 0 if last is None else max(0, count - last))
    except INVALID as error:
        raise DamagedBlock(error) from error


def decode_setpoints(body: bytes) -> list[SetpointRun]:
    """The runs of readings with the same setpoint and deadband, in order.

    They take a fiftieth of the time of all columns. Raises DamagedBlock.
    """
    count, _, end = _opened(body)
    try:
        others = Unpacker(body[end:-CRC_BYTES])
        setpoints, deadbands = others.lengths(count), others.lengths(count)
        return _together(*setpoints, *deadbands)
    except INVALID as error:
        raise DamagedBlock(error) from error


def decode_times(body: bytes, first: int) -> list[int]:
    """The times of the readings from an index on. Raises DamagedBlock."""
    count, start, end = _opened(body)
    try:
        return Unpacker(body[start:end]).integers(count, first)
    except INVALID as error:
        raise DamagedBlock(error) from error


def _together(
    setpoints: list[int], lengths: list[int], deadbands: list[int], others: list[int]
) -> list[SetpointRun]:
    """The runs of both columns as runs of pairs; `others` are the lengths of the second."""
    starts = dict(zip(accumulate(lengths, initial=0), setpoints, strict=False))
    starts_of_others = dict(zip(accumulate(others, initial=0), deadbands, strict=False))
    runs = []
    setpoint = deadband = 0
    for first in sorted(starts.keys() | starts_of_others.keys()):
        setpoint = starts.get(first, setpoint)
        deadband = starts_of_others.get(first, deadband)
        runs.append(SetpointRun(first, setpoint, deadband))
    return runs


def _columns(columns: Columns) -> Iterator[Sized]:
    return (getattr(columns, field.name) for field in fields(columns))


def _opened(body: bytes) -> tuple[int, int, int]:
    """The count of readings, and where the first pack starts and ends; checks all bytes."""
    if body[:1] != bytes((VERSION,)):
        raise DamagedBlock(f"it does not begin with version {VERSION}")
    content = body[:-CRC_BYTES]
    if zlib.crc32(content) != int.from_bytes(body[-CRC_BYTES:], "little"):
        raise DamagedBlock("its checksum is wrong")
    try:
        count, start = read_number(content, 1)
        length, start = read_number(content, start)
    except IndexError:
        raise DamagedBlock("it is too short") from None
    return count, start, start + length


def _samples(pack: bytes, count: int, first: int = 0) -> Samples:
    """The samples from an index on."""
    unpacker = Unpacker(pack)
    times = unpacker.integers(count, first)
    temps = _optional(unpacker, count, first)
    samples = Samples(times, temps, unpacker.runs(count, int)[first:])
    unpacker.finish()
    return samples


def _add_times(packer: Packer, values: list[int | None], times: list[int]) -> None:
    """Add ticks or a device's own times: as differences to the times if those differ less."""
    present = packer.present(values)
    if len(present) < len(values):
        times = [time for time, value in zip(times, values, strict=True) if value is not None]
    relative = list(map(sub, present, times))
    middle = max(0, (len(present) - ROWS_TO_COMPARE) // 2)
    some = slice(middle, middle + ROWS_TO_COMPARE)
    is_relative = bool(present) and fit(relative[some]).size() < fit(present[some]).size()
    packer.number(is_relative)
    packer.integers(relative if is_relative else present)


def _times(unpacker: Unpacker, times: list[int]) -> list[int | None]:
    present = unpacker.present(len(times))
    is_relative = unpacker.number()
    values = unpacker.integers(len(times) if present is None else present.count(True))
    if is_relative:
        values = list(map(add, values, times if present is None else compress(times, present)))
    return _spread(values, present)


def _optional(unpacker: Unpacker, count: int, first: int) -> list[int | None]:
    """Integers of which some may be None, from an index on."""
    present = unpacker.present(count)
    if present is None:
        return _spread(unpacker.integers(count, first), None)
    wanted = present[first:]
    there = present.count(True)
    return _spread(unpacker.integers(there, there - wanted.count(True)), wanted)


def _spread(values: list[int], present: list[bool] | None) -> list[int | None]:
    """The values, and None where none is present; without `present`, all are."""
    if present is None:
        return cast("list[int | None]", values)
    if not values:
        return [None] * len(present)
    rest = iter(values)
    return [next(rest) if here else None for here in present]


def _add_texts(packer: Packer, texts: list[Texts]) -> None:
    """Add each distinct text once, and runs of their indexes."""
    indexes = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    # JSON may hold half of a surrogate pair, and strict UTF-8 refuses it.
    words = [word.encode("utf-8", "surrogatepass") for text in indexes for word in text]
    packer.number(len(indexes))
    packer.number(*map(len, words))
    packer.blob(b"".join(words))
    packer.runs(texts, indexes.__getitem__)


def _texts(unpacker: Unpacker, count: int) -> list[Texts]:
    lengths = [[unpacker.number() for _ in Texts._fields] for _ in range(unpacker.number())]
    joined, start = unpacker.blob(), 0
    distinct = []
    for row in lengths:
        words = []
        for length in row:
            words.append(joined[start : start + length].decode("utf-8", "surrogatepass"))
            start += length
        distinct.append(Texts(*words))
    return unpacker.runs(count, distinct.__getitem__)
