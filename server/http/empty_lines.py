"""EmptyLines: skips empty lines before a request, which old clients send after a body."""

from __future__ import annotations

import re

# RFC 9112, section 2.2, asks servers to skip at least one; some clients send two. An empty line
# costs the sender as much as this server, but a client that sends only such lines must not look
# like one that sends requests.
EMPTY_LINES_MAX = 8

# h11 also accepts lines that end without a CR.
_EMPTY_LINE = re.compile(rb"\r?\n")


class EmptyLines:
    """Counts the empty lines before one request."""

    def __init__(self) -> None:
        self._left = EMPTY_LINES_MAX

    def size(self, received: bytes) -> int:
        """How many bytes of empty lines `received` begins with; these lines count as skipped."""
        end = 0
        while self._left and (line := _EMPTY_LINE.match(received, end)):
            end = line.end()
            self._left -= 1
        return end

    def may_begin(self, received: bytes) -> bool:
        """Whether `received` may be the beginning of one more empty line."""
        return bool(self._left) and received == b"\r"

    def start_again(self) -> None:
        """A request has come: count the empty lines before the next one from zero."""
        self._left = EMPTY_LINES_MAX
