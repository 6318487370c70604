"""Refuses HTTP/2 on the plain port, in the language of either side.

A proxy that terminates TLS speaks HTTP/2 to browsers. Here it would only offer ways to make the
server work without a request: streams that are reset, posts that never end.
"""

from __future__ import annotations

import h11

# RFC 9113, section 3.4: how a client begins that knows beforehand that the server speaks HTTP/2.
PREFACE_LINE = b"PRI * HTTP/2.0\r\n"
_WHY = b"this port speaks HTTP/1.1 only"
# An empty SETTINGS frame, which must come first, and GOAWAY with HTTP_1_1_REQUIRED (13).
GOAWAY = (
    bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
    + (8 + len(_WHY)).to_bytes(3, "big")
    + bytes((7, 0, 0, 0, 0, 0))
    + bytes((0, 0, 0, 0, 0, 0, 0, 13))
    + _WHY
)
NOT_SUPPORTED = 505


def http1_only(request: h11.Request) -> h11.Request:
    """The request, without a wish to go on in HTTP/2, which a server may ignore.

    Raises RemoteProtocolError for a request of another version.
    """
    if not request.http_version.startswith(b"1."):
        raise h11.RemoteProtocolError(_WHY.decode(), error_status_hint=NOT_SUPPORTED)
    headers = [pair for pair in request.headers.raw_items() if not _is_wish(*pair)]
    if len(headers) == len(request.headers):
        return request
    return h11.Request(
        method=request.method,
        headers=headers,
        target=request.target,
        http_version=request.http_version,
    )


def _is_wish(name: bytes, value: bytes) -> bool:
    return name.lower() == b"upgrade" and b"h2c" in value.lower()
