#!/usr/bin/env bash
# uvloop resumes a paused writer only when its buffer is nearly empty, asyncio at a quarter.
#
# Seen with: uvloop 0.23.0 from PyPI, CPython 3.11, November 2026.
# Expected: a transport has the buffer limits of asyncio's own event loop. The documentation of
#   WriteTransport.set_write_buffer_limits says that the low limit is "an implementation-specific value
#   less than or equal to the high limit", and asyncio takes a quarter of the high one: 16 KiB of 64 KiB.
# Seen: uvloop's low limit is 16 bytes, of the same 64 KiB.
# Why it matters: a protocol that was paused at 64 KiB hears `resume_writing` only once all but 16 bytes
#   are gone. A stream that waits for it never keeps the connection busy: it sends in bursts of 64 KiB, and
#   a slow reader counts as stuck four times as long. Set the limits that you rely on.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uvloop==0.23.0
cat >"$folder/program.py" <<'PROGRAM'
import asyncio
import socket

import uvloop


async def limits():
    """The default limits of a connection's write buffer, in bytes: low, high."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
    found = transport.get_write_buffer_limits()
    transport.close()
    theirs.close()
    return found


print("asyncio:", *asyncio.run(limits()))
print("uvloop:", *uvloop.run(limits()))
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py")
echo "$seen"
expected='asyncio: 16384 65536
uvloop: 16 65536'
[ "$seen" = "$expected" ] || {
    echo "This has changed: expected a low limit of 16 bytes with uvloop." >&2
    exit 1
}
