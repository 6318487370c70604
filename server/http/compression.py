"""Packs long JSON answers with gzip for clients that ask for it; never a stream or a file."""

from __future__ import annotations

import asyncio
import zlib

from quart import Quart, Response, request

# A shorter answer fits in one packet as it is.
MIN_BYTES = 1024
# Packed in one go, about a millisecond; other requests are answered in between.
PIECE = 64 * 1024
LEVEL = 1
GZIP_FORMAT = 16 + zlib.MAX_WBITS


def add_compression(app: Quart) -> None:
    """Pack answers of at least MIN_BYTES of JSON where Accept-Encoding names gzip.

    Those to HEAD too, whose head is that of GET.
    """

    async def pack(response: Response) -> Response:
        if response.mimetype != "application/json" or request.method not in {"GET", "HEAD"}:
            return response
        response.vary.add("Accept-Encoding")
        size = response.content_length or 0
        is_asked = request.accept_encodings.quality("gzip") > 0
        if size < MIN_BYTES or not is_asked or "Content-Encoding" in response.headers:
            return response
        response.set_data(await packed(await response.get_data(as_text=False)))
        response.headers["Content-Encoding"] = "gzip"
        return response

    app.after_request(pack)


async def packed(body: bytes) -> bytes:
    """The body as gzip, made piece by piece."""
    packer = zlib.compressobj(LEVEL, wbits=GZIP_FORMAT)
    pieces = []
    for start in range(0, len(body), PIECE):
        pieces.append(packer.compress(body[start : start + PIECE]))
        await asyncio.sleep(0)
    return b"".join([*pieces, packer.flush()])
