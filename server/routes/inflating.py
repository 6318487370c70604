"""Inflates gzip bodies, with a limit on their size."""

from __future__ import annotations

import zlib

from werkzeug.exceptions import RequestEntityTooLarge

from server.common.errors import Invalid, UnsupportedMedia

GZIP = {"gzip", "x-gzip"}
# zlib's `wbits` for a gzip header and trailer with the largest window.
_GZIP_FORMAT = 16 + zlib.MAX_WBITS
# A gzip file may have several members; the remaining input is copied for each of them.
MEMBERS_MAX = 16
# Characters of a header that an answer repeats.
SHOWN_MAX = 100


def is_gzip(encoding: str) -> bool:
    """Whether this Content-Encoding means gzip; False for a plain body.

    Raises UnsupportedMedia for any other encoding.
    """
    names = [name.strip().lower() for name in encoding.split(",")]
    codings = [name for name in names if name not in {"", "identity"}]
    if codings and (len(codings) > 1 or codings[0] not in GZIP):
        raise UnsupportedMedia(
            message=f"Content-Encoding {encoding[:SHOWN_MAX]} is not taken: "
            "send the body as it is (identity), or as gzip (x-gzip)"
        )
    return bool(codings)


def inflated(body: bytes, most: int) -> bytes:
    """The content of a gzip body.

    Raises RequestEntityTooLarge beyond `most` bytes, before they are allocated, and Invalid if the
    body is no gzip.
    """
    data = b""
    for _ in range(MEMBERS_MAX):
        member = zlib.decompressobj(_GZIP_FORMAT)
        try:
            data += member.decompress(body, most + 1 - len(data))
        except zlib.error as error:
            raise _no_gzip(str(error)) from None
        if len(data) > most:
            raise RequestEntityTooLarge
        if not member.eof:
            raise _no_gzip("it is truncated")
        body = member.unused_data
        if not body:
            return data
    raise _no_gzip(f"it has more than {MEMBERS_MAX} members")


def _no_gzip(why: str) -> Invalid:
    return Invalid("Invalid JSON", "INVALID_JSON", f"the body cannot be read as gzip: {why}")
