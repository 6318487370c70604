#!/usr/bin/env bash
# After a standstill uvloop calls an overdue timer before the result that a thread handed over in time.
#
# Seen with: uvloop 0.23.0 from PyPI, CPython 3.11, 3.12 and 3.13, December 2026.
# Expected: the order of asyncio's own event loop, which calls what was handed over by `call_soon_threadsafe` and what
#   arrived on sockets before the timers that are due.
# Seen: uvloop calls data, then timers, and what threads handed over last, even if it was there before the timer was
#   due.
# Why it matters: work in a thread with a limit by `call_later` (a database call) fails as too late after the machine
#   was paused or starved, although the result is there. Let a timer that is called far too late wait once more.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv .
bin/pip install --quiet uvloop==0.23.0
cat >program.py <<'PROGRAM'
import asyncio
import socket
import sys
import threading
import time

import uvloop

LIMIT_S, STANDSTILL_S, ROUNDS = 0.2, 0.6, 5


async def order() -> list[str]:
    """What is called first after the loop stood still: all were there, and the limit came last."""
    loop = asyncio.get_running_loop()
    called: list[str] = []
    near, far = socket.socketpair()
    near.setblocking(False)
    loop.add_reader(near, lambda: (near.recv(1), called.append("data")))
    loop.call_later(LIMIT_S, called.append, "limit")
    far.send(b"x")
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(called.append, "thread"))
    thread.start()
    thread.join()
    time.sleep(STANDSTILL_S)
    while len(called) < 3:
        await asyncio.sleep(0)
    loop.remove_reader(near)
    near.close()
    far.close()
    return called


theirs = [uvloop.run(order()) for _ in range(ROUNDS)]
own = [asyncio.run(order()) for _ in range(ROUNDS)]
print(f"uvloop {uvloop.__version__}: {theirs[0]}")
print(f"asyncio of Python {sys.version.split()[0]}: {own[0]}")
as_seen = all(one.index("limit") < one.index("thread") for one in theirs)
sys.exit(0 if as_seen and all(one[-1] == "limit" for one in own) else 1)
PROGRAM
if bin/python program.py; then
    echo "as seen: the timer comes before the thread's result"
else
    echo "changed"
    exit 1
fi
