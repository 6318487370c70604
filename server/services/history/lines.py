"""Fits a line to integers, so that what is left is about one byte for each; pure.

Two forms fit what devices send. A straight line fits times on a regular grid and a steady
temperature: the rest of each value is its distance from the line. Steps fit times whose jitter adds
up and a temperature that moves: the rest of each value is its distance from the one before, less
the least such distance. In both, a jump (a gap between times, a clock that is set) is kept apart,
so that it does not widen the rest. Any integers fit; those that are noise need more bytes.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, islice, repeat
from operator import add, rshift, sub
from struct import pack, unpack
from typing import NamedTuple

# Slopes are in units of 2^-16: after 30,000 rows a line is off by less than 1.
FRACTION = 16
# The struct formats of unsigned integers by their width in bytes.
FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
# A jump takes about 4 bytes, a wider rest at least an eighth of a byte for each value.
ROWS_FOR_EACH_JUMP = 32
# So few bytes become more if they are deflated, or hardly fewer.
DEFLATE_MIN = 24


class Jump(NamedTuple):
    """All values from an index (`start`) on are this much further."""

    start: int
    by: int


class Line(NamedTuple):
    """What a list of integers is near: `first + slope * index`, and jumps.

    The slope is in units of 2^-16; `width` is the bytes that the rest of each value takes.
    """

    stepwise: bool
    first: int
    slope: int
    width: int
    jumps: list[Jump]


class Fitted(NamedTuple):
    """A line, and the rest of each value as one plane for each byte of its width, compressed."""

    line: Line
    planes: list[bytes]

    def size(self) -> int:
        """About how many bytes this takes."""
        return sum(map(len, self.planes)) + 4 * len(self.line.jumps)


def fit(values: list[int]) -> Fitted:
    """The line that leaves the least; of at least one integer."""
    steps = list(map(sub, values[1:], values))
    low, width, jumps = _usual(steps)
    stepwise = _stepwise(values[0], steps, low, width, jumps)
    straight = _straight(values, jumps, width)
    return stepwise if straight is None else min(stepwise, straight, key=Fitted.size)


def restore(line: Line, planes: list[bytes], count: int, start: int = 0) -> list[int]:
    """The values from an index on, of `count` that were fitted; the planes are as long."""
    first = line.first
    rest: Iterable[int] | None = None
    if line.width:
        rest = _joined([plane[start:] for plane in planes], count - start)
        if line.stepwise:
            first += sum(sum(plane[:start]) << 8 * index for index, plane in enumerate(planes))
            rest = accumulate(rest)
    values = _points(first, line.slope, count, start)
    if rest is not None:
        values = map(add, values, rest)
    if line.jumps:
        values = map(add, values, islice(_shifts(line.jumps, count), start, None))
    return list(values)


def deflated(data: bytes, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """The bytes compressed; the same bytes if that gains nothing."""
    if len(data) <= DEFLATE_MIN:
        return data
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15, 9, strategy)
    return min(data, deflate.compress(data) + deflate.flush(), key=len)


def _usual(steps: list[int]) -> tuple[int, int, list[Jump]]:
    """The least of the usual steps, how many bytes they need, and the others."""
    low, high = min(steps, default=0), max(steps, default=0)
    if high - low < 256:
        return low, 1 if low < high else 0, []
    in_order = sorted(steps)
    middle = in_order[len(steps) // 2]
    for width in FORMATS:
        first = bisect_left(in_order, middle - 128 * 256 ** (width - 1))
        end = bisect_left(in_order, middle + 128 * 256 ** (width - 1))
        if len(steps) - (end - first) <= 2 + len(steps) // ROWS_FOR_EACH_JUMP:
            break
    low, high = in_order[first], in_order[end - 1]
    jumps = [Jump(index, by) for index, by in enumerate(steps, 1) if not low <= by <= high]
    return low, width, jumps


def _stepwise(first: int, steps: list[int], low: int, width: int, jumps: list[Jump]) -> Fitted:
    rest = [low, *steps]
    for start, _ in jumps:
        rest[start] = low
    further = [Jump(start, by - low) for start, by in jumps]
    line = Line(True, first, low << FRACTION, width, further)
    return _fitted(line, map(sub, rest, repeat(low)), len(rest))


def _straight(values: list[int], jumps: list[Jump], width_max: int) -> Fitted | None:
    """The other form; None if it would be wider."""
    count = len(values)
    usual = count - 1 - len(jumps)
    way = values[-1] - values[0] - sum(jump.by for jump in jumps)
    jumps = [_on_grid(jump, (way << FRACTION) // usual if usual else 0) for jump in jumps]
    if jumps:
        values = list(map(sub, values, _shifts(jumps, count)))
    slope = _slope(values)
    rest = list(map(sub, values, _points(0, slope, count)))
    low, high = min(rest), max(rest)
    width = next((one for one in (0, *FORMATS) if high - low < 256**one), width_max + 1)
    if width > width_max:
        return None
    return _fitted(Line(False, low, slope, width, jumps), map(sub, rest, repeat(low)), count)


def _on_grid(jump: Jump, slope: int) -> Jump:
    """A step that is not usual as a jump off the line.

    After a gap a device goes on with its grid: its jump is a multiple of the slope, so that its own
    jitter does not shift all that follow.
    """
    beyond = (jump.by << FRACTION) - slope
    multiple = (2 * beyond + slope) // (2 * slope) * slope if slope else 0
    if abs(beyond - multiple) < 128 << FRACTION:
        return Jump(jump.start, multiple >> FRACTION)
    return Jump(jump.start, beyond >> FRACTION)


def _slope(values: list[int]) -> int:
    """The usual step: from the mean of the first quarter to the mean of the last.

    It is whole if that moves no value by more than 4: whole steps are restored faster.
    """
    some = (len(values) + 3) // 4
    apart = some * (len(values) - some)
    if not apart:
        return 0
    slope = ((sum(values[-some:]) - sum(values[:some])) << FRACTION) // apart
    whole = (slope + (1 << FRACTION - 1)) >> FRACTION << FRACTION
    return whole if abs(slope - whole) * len(values) < 4 << FRACTION else slope


def _points(first: int, slope: int, count: int, start: int = 0) -> Iterable[int]:
    """The points of a line from an index on, rounded down."""
    if not slope:
        return repeat(first, count - start)
    if not slope & ((1 << FRACTION) - 1):
        step = slope >> FRACTION
        return range(first, first + step * count, step)[start:]
    exact = first << FRACTION
    return map(rshift, range(exact, exact + slope * count, slope)[start:], repeat(FRACTION))


def _shifts(jumps: list[Jump], count: int) -> Iterable[int]:
    """How far each value was shifted by the jumps so far."""
    starts = [0, *(jump.start for jump in jumps), count]
    shifts = accumulate((jump.by for jump in jumps), initial=0)
    return chain.from_iterable(map(repeat, shifts, map(sub, starts[1:], starts)))


def _fitted(line: Line, rest: Iterable[int], count: int) -> Fitted:
    """A line with the rest: numbers from 0, whose bytes are sorted by their position."""
    width = line.width
    if not width:
        return Fitted(line, [])
    data = bytes(rest) if width == 1 else pack(f"<{count}{FORMATS[width]}", *rest)
    # Z_RLE gives frequent bytes fewer bits, and joins equal ones. Looking for longer sequences
    # finds some in noise: that takes time, and more bytes.
    return Fitted(line, [deflated(data[position::width], zlib.Z_RLE) for position in range(width)])


def _joined(planes: list[bytes], count: int) -> Sequence[int]:
    width = len(planes)
    if width == 1:
        return planes[0]
    data = bytearray(width * count)
    for position, plane in enumerate(planes):
        data[position::width] = plane
    return unpack(f"<{count}{FORMATS[width]}", data)
