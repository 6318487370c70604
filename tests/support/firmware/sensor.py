"""A sensor that a test plays: each reading is the next line of standard input."""

import sys


class SensorError(Exception):
    """What a driver raises: nothing answers on the wire, or the checksum is wrong."""


def read_tenths():
    """The temperature in tenths of a degree; the firmware ends with its input."""
    value = sys.stdin.readline().strip()
    if not value:
        sys.exit()
    if value in ("unplugged", "crc"):
        raise SensorError(value)
    return float(value) if value == "nan" else int(value)
