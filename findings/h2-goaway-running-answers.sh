#!/usr/bin/env bash
# A client on h2 cannot read the rest of an answer after the server has said GOAWAY.
#
# Seen with: h2 4.4.1, hyperframe 6.1.0 and hpack 4.2.0 from PyPI, CPython 3.11, November 2026.
# Expected: RFC 9113, section 6.8: streams up to the last one that GOAWAY names may still complete, so the client
#   gets the data and the end of the answer that was running.
# Seen: GOAWAY gives ConnectionTerminated; the DATA frame of the running stream then raises ProtocolError.
# Why it matters: a server that says GOAWAY at the beginning of its drain cuts off the running answers of such
#   clients. It must finish them first and say GOAWAY last.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet h2==4.4.1 hyperframe==6.1.0 hpack==4.2.0
cat >"$folder/program.py" <<'PROGRAM'
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived
from h2.exceptions import ProtocolError
from hyperframe.frame import DataFrame, GoAwayFrame

client = H2Connection(H2Configuration(client_side=True))
server = H2Connection(H2Configuration(client_side=False))
client.initiate_connection()
server.initiate_connection()
request = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "localhost")]
client.send_headers(1, request, end_stream=True)
server.receive_data(client.data_to_send())
server.send_headers(1, [(":status", "200")])
client.receive_data(server.data_to_send())

goodbye, rest = GoAwayFrame(0), DataFrame(1, b"the rest of the answer", flags=["END_STREAM"])
goodbye.last_stream_id, goodbye.error_code = 1, 0
(event,) = client.receive_data(goodbye.serialize())
assert isinstance(event, ConnectionTerminated), event
assert event.last_stream_id == 1
try:
    events = client.receive_data(rest.serialize())
except ProtocolError as error:
    print(f"as expected: the running answer is lost, {type(error).__name__}: {error}")
else:
    got = [event.data for event in events if isinstance(event, DataReceived)]
    print(f"changed: the client got {got}")
    sys.exit(1)
PROGRAM
"$folder/venv/bin/python" "$folder/program.py"
