"""Packs columns of integers, of optional integers and of runs into bytes, and unpacks them; pure.

A pack is one blob of numbers, which are few, and then the blobs that hold something for each row.
Everything comes out in the order in which it went in. A blob is its length and whether it is
deflated, and its bytes.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby, islice, repeat
from typing import TypeVar

from server.services.history.lines import Jump, Line, deflated, fit, restore

T = TypeVar("T")

# What unpacking raises for bytes that were not packed here.
INVALID = (LookupError, OverflowError, ValueError, zlib.error)
# The numbers that take one byte, by this byte.
_SMALL = [~(byte >> 1) if byte & 1 else byte >> 1 for byte in range(128)]

# Many of these, or one that takes several bytes.
_ONE_OR_SMALL = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+[\x00-\x7f]?")


class Packer:
    """Collects what belongs into one pack."""

    def __init__(self) -> None:
        self._numbers = bytearray()
        self._blobs = bytearray()

    def number(self, *numbers: int) -> None:
        """Add integers of any size, one byte each if they are small."""
        for number in numbers:
            write_number(self._numbers, number)

    def blob(self, data: bytes) -> None:
        """Add bytes."""
        packed = deflated(data)
        _write_blob(self._blobs, packed, len(packed) < len(data))

    def runs(self, values: Sequence[T], number_of: Callable[[T], int]) -> None:
        """Add values of which many in a row are equal."""
        if values and values.count(values[0]) == len(values):
            self.number(1, number_of(values[0]), len(values))
            return
        runs = [(value, len(list(group))) for value, group in groupby(values)]
        self.number(len(runs))
        for value, length in runs:
            self.number(number_of(value), length)

    def present(self, values: Sequence[int | None]) -> list[int]:
        """Add which values are None; the others are returned, to be added next."""
        missing = values.count(None)
        if missing in (0, len(values)):
            self.runs([not missing] * len(values), int)
        else:
            self.runs([value is not None for value in values], int)
        return [value for value in values if value is not None]

    def integers(self, values: list[int]) -> None:
        """Add integers; the nearer each is to a line or to the one before, the fewer bytes."""
        if not values:
            return
        line, planes = fit(values)
        self.number(line.stepwise, line.first, line.slope, line.width, len(line.jumps))
        last = 0
        for index, by in line.jumps:
            self.number(index - last, by)
            last = index
        for plane in planes:
            _write_blob(self._blobs, plane, len(plane) < len(values))

    def finish(self) -> bytes:
        """The pack."""
        pack = bytearray()
        numbers = deflated(bytes(self._numbers))
        _write_blob(pack, numbers, len(numbers) < len(self._numbers))
        return bytes(pack + self._blobs)


class Unpacker:
    """Gives back what a Packer collected.

    Every method may raise one of INVALID for bytes that no Packer made.
    """

    def __init__(self, pack: bytes) -> None:
        self._pack = pack
        self._at = 0
        self._numbers = _numbers(self.blob())

    def number(self) -> int:
        """The next number."""
        number = next(self._numbers, None)
        if number is None:
            raise ValueError("a number is missing")
        return number

    def blob(self) -> bytes:
        """The next bytes."""
        head, start = read_number(self._pack, self._at)
        length, is_deflated = divmod(head, 2)
        self._at = start + length
        if length < 0 or self._at > len(self._pack):
            raise ValueError("bytes are missing")
        data = self._pack[start : self._at]
        return zlib.decompress(data, -15) if is_deflated else data

    def runs(self, count: int, value_of: Callable[[int], T]) -> list[T]:
        """The values that were added as runs; they must be `count`."""
        numbers, lengths = self.lengths(count)
        return list(chain.from_iterable(map(repeat, map(value_of, numbers), lengths)))

    def present(self, count: int) -> list[bool] | None:
        """For each of `count` values, whether it is not None; None if all are there."""
        numbers, lengths = self.lengths(count)
        if all(numbers):
            return None
        return list(chain.from_iterable(map(repeat, map(bool, numbers), lengths)))

    def lengths(self, count: int) -> tuple[list[int], list[int]]:
        """The number of each run of `count` values, and how long each is; instead of `runs`."""
        runs = self.number()
        numbers = list(islice(self._numbers, 2 * runs))
        lengths = numbers[1::2]
        if len(lengths) != runs:
            raise ValueError("a number is missing")
        if min(lengths, default=1) < 1 or sum(lengths) != count:
            raise ValueError("the runs are not as long as the column")
        return numbers[::2], lengths

    def integers(self, count: int, start: int = 0) -> list[int]:
        """The integers from an index on, of `count`."""
        if not count:
            return []
        stepwise, first, slope, width, jumps = (self.number() for _ in range(5))
        line = Line(bool(stepwise), first, slope, width, self._jumps(jumps, count))
        planes = [self.blob() for _ in range(width)]
        if any(len(plane) != count for plane in planes):
            raise ValueError("a column is not as long as the others")
        return restore(line, planes, count, start)

    def finish(self) -> None:
        """Raise ValueError if something is left."""
        if self._at != len(self._pack) or next(self._numbers, None) is not None:
            raise ValueError("something follows the last column")

    def _jumps(self, jumps: int, count: int) -> list[Jump]:
        found = [Jump(0, 0)]
        for _ in range(jumps):
            start = found[-1].start + self.number()
            if not found[-1].start < start < count:
                raise ValueError("the jumps are not in order")
            found.append(Jump(start, self.number()))
        return found[1:]


def write_number(out: bytearray, number: int) -> None:
    """Append an integer of any size: seven bits a byte, the sign in the lowest."""
    rest = number << 1 if number >= 0 else ~number << 1 | 1
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)


def read_number(data: bytes, at: int) -> tuple[int, int]:
    """The integer that begins at an index, and the index after it."""
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return (~(value >> 1) if value & 1 else value >> 1), at


def _numbers(data: bytes) -> Iterator[int]:
    """As `read_number`, until the end of the bytes."""
    for found in _ONE_OR_SMALL.finditer(data):
        some = found[0]
        if some[0] < 128:  # nearly all
            yield from map(_SMALL.__getitem__, some)
        else:
            yield read_number(some, 0)[0]


def _write_blob(out: bytearray, data: bytes, is_deflated: bool) -> None:
    write_number(out, 2 * len(data) + is_deflated)
    out += data
