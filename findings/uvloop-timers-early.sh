#!/usr/bin/env bash
# uvloop calls a timer back up to a millisecond before it is due, by its own clock too.
#
# Seen with: uvloop 0.23.0 from PyPI, CPython 3.11, December 2026.
# Expected: `call_later(delay)` calls back after the delay, and `call_at(when)` not before `loop.time()` says `when`;
#   asyncio's own event loop is never early, but up to a millisecond late.
# Seen: uvloop rounds the delay to whole milliseconds, and the time of the millisecond in which it starts is not
#   counted: a timer of 0.4 ms is called at once, one of 1.4 ms after 1.06 ms, one of 10.4 ms after 9.2 to 10.1 ms.
# Why it matters: a callback that looks whether it is due and else starts a timer for what is left runs several
#   times for one wait, and one that takes for granted that it is due acts too early: a retry comes before the time
#   that the other side named, a measured wait is shorter than the wait. Compare with the clock, and start the timer
#   again for a whole millisecond at least. Reported as MagicStack/uvloop#739.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv .
bin/pip install --quiet uvloop==0.23.0
cat >program.py <<'PROGRAM'
import asyncio
import sys

import uvloop

ROUNDS = 100
DELAYS_MS = (0.4, 1.4, 10.4)


async def early() -> dict[float, int]:
    """How many timers of each delay were called before `loop.time()` said so, of ROUNDS."""
    loop = asyncio.get_running_loop()
    found = dict.fromkeys(DELAYS_MS, 0)
    for delay_ms in DELAYS_MS:
        for _ in range(ROUNDS):
            called = loop.create_future()
            due = loop.time() + delay_ms / 1000
            loop.call_at(due, lambda called=called: called.set_result(loop.time()))
            found[delay_ms] += await called < due
    return found


theirs, own = uvloop.run(early()), asyncio.run(early())
print(f"uvloop {uvloop.__version__}, timers called early, of {ROUNDS}, by their delay in ms: {theirs}")
print(f"asyncio of Python {sys.version.split()[0]}: {own}")
sys.exit(0 if all(theirs.values()) and not any(own.values()) else 1)
PROGRAM
if bin/python program.py; then
    echo "as seen: uvloop calls timers early"
else
    echo "changed"
    exit 1
fi
