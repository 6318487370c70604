#!/usr/bin/env bash
# h11 refuses a request that stands behind an empty line.
#
# Seen with: h11 0.16.0 from PyPI, CPython 3.11, November 2026.
# Expected: RFC 9112, section 2.2: a server "SHOULD ignore at least one empty line (CRLF) received prior
#   to the request-line", because old clients end a body with an extra CRLF.
# Seen: on a fresh connection, and on one that is kept, the empty line is an error ("no request line
#   received"), and the request behind it is lost with its connection.
# Why it matters: a device that sends CRLF after its body, and keeps its connection, loses every second
#   reading on a server built on h11 (Hypercorn, uvicorn without httptools). Skip such lines before
#   handing bytes to h11.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet h11==0.16.0
cat >"$folder/program.py" <<'PROGRAM'
import h11

REQUEST = b"POST /reading HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"


def read(connection, data):
    """What h11 makes of the next bytes: the names of its events, or its error."""
    connection.receive_data(data)
    names = []
    try:
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            names.append(type(event).__name__)
    except h11.RemoteProtocolError as error:
        names.append(str(error))
    return names


print("fresh:", *read(h11.Connection(h11.SERVER), b"\r\n" + REQUEST))
kept = h11.Connection(h11.SERVER)
print("first:", *read(kept, REQUEST))
kept.send(h11.Response(status_code=204, headers=[]))
kept.send(h11.EndOfMessage())
kept.start_next_cycle()
print("kept:", *read(kept, b"\r\n" + REQUEST))
PROGRAM
seen=$("$folder/venv/bin/python" "$folder/program.py")
echo "$seen"
expected='fresh: no request line received
first: Request Data EndOfMessage
kept: no request line received'
[ "$seen" = "$expected" ] || {
    echo "This has changed: expected both empty lines to be refused." >&2
    exit 1
}
