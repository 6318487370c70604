"""EmptyLines: those before a request, which old clients send after the body of the one before."""

from __future__ import annotations

import re

# RFC 9112, section 2.2, asks for one at least; clients are known that send two. Each costs the
# sender as much as it costs this server, but a line that never ends must not look like a request.
EMPTY_LINES_MAX = 8

# h11 takes lines that end without a CR too.
_EMPTY_LINE = re.compile(rb"\r?\n")


class EmptyLines:
    """Counts the empty lines before one request."""

    def __init__(self) -> None:
        self._left = EMPTY_LINES_MAX

    def size(self, received: bytes) -> int:
        """How many bytes of empty lines `received` begins with; they count as skipped now."""
        end = 0
        while self._left and (line := _EMPTY_LINE.match(received, end)):
            end = line.end()
            self._left -= 1
        return end

    def may_begin(self, received: bytes) -> bool:
        """Whether all that was received may become one more."""
        return bool(self._left) and received == b"\r"

    def start_again(self) -> None:
        """A request has come: count those before the next one."""
        self._left = EMPTY_LINES_MAX
