"""The firmware's settings, from the command line: HOST PORT CYCLE_MS TICKS."""

import sys

HOST = sys.argv[1]
PORT = int(sys.argv[2])
CYCLE_MS = int(sys.argv[3])
TICKS = int(sys.argv[4])
