"""A sensor that a test controls: each value is the next line of standard input."""

import sys


class SensorError(Exception):
    """The error of a sensor's driver: the sensor does not answer, or a checksum is wrong."""


def read_tenths():
    """The temperature in tenths of a degree; at the end of the input the firmware exits."""
    value = sys.stdin.readline().strip()
    if not value:
        sys.exit()
    if value in ("unplugged", "crc"):
        raise SensorError(value)
    return float(value) if value == "nan" else int(value)
