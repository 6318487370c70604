#!/usr/bin/env bash
# After a standstill `asyncio.timeout` fails a read whose data was there; anyio's `fail_after` returns the data.
#
# Seen with: CPython 3.11.7, 3.12.1 and 3.13.0, anyio 4.11.0 from PyPI, December 2026.
# Expected: the read gets the data, since asyncio's loop looks at sockets before it calls timers.
# Seen: `asyncio.timeout` raises TimeoutError: its timer cancels the task, whose read is done but which did not run yet.
#   `wait_for` gives the data in Python 3.11 and raises TimeoutError since 3.12. anyio's `fail_after` gives the data.
#   After a TimeoutError the data is still in the reader.
# Why it matters: after a pause of the machine every call that waited fails, although its answer is there; where answers
#   have no numbers, the next call on the connection gets the answer of the one before. Close it after a time-out.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv .
bin/pip install --quiet anyio==4.11.0
cat >program.py <<'PROGRAM'
import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable

import anyio

LIMIT_S, STANDSTILL_S = 0.2, 0.6
Read = Callable[[asyncio.StreamReader], Awaitable[bytes]]


async def timeout(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(LIMIT_S):
        return await reader.read(1)


async def wait_for(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.read(1), LIMIT_S)


async def fail_after(reader: asyncio.StreamReader) -> bytes:
    with anyio.fail_after(LIMIT_S):
        return await reader.read(1)


async def outcome(read: Read) -> str:
    """What a read gives if the byte arrives at once, and then the loop stands still."""
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)

    async def stand_still() -> None:
        far.send(b"x")
        time.sleep(STANDSTILL_S)

    task = asyncio.create_task(stand_still())
    try:
        return "data" if await read(reader) == b"x" else "nothing"
    except TimeoutError:
        return "TimeoutError" if await reader.read(1) == b"x" else "nothing"
    finally:
        await task
        writer.close()
        far.close()


seen = {read.__name__: asyncio.run(outcome(read)) for read in (timeout, wait_for, fail_after)}
print(f"Python {sys.version.split()[0]}: {seen}")
of_wait_for = "data" if sys.version_info < (3, 12) else "TimeoutError"
expected = {"timeout": "TimeoutError", "wait_for": of_wait_for, "fail_after": "data"}
sys.exit(0 if seen == expected else 1)
PROGRAM
if bin/python program.py; then
    echo "as seen: the read fails"
else
    echo "changed"
    exit 1
fi
