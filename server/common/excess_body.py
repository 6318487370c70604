"""Finds excess: bytes behind a body that is longer than its Content-Length says.

HTTP takes such bytes for the beginning of the next request. Bytes that cannot begin a request are
reported, so that an operator finds the faulty client.
"""

from __future__ import annotations

import re

# A key in the ASGI state; its value is a function that returns whether the request's body is
# longer than its Content-Length says.
BODY_IS_LONGER = "bas.body_is_longer"

# The first line of a request, complete or only its beginning. The rest of a cut JSON body is
# different: it has a small letter, a digit, a quote or a bracket where a method has capitals.
_FIRST_LINE = re.compile(rb"[!#-'*+.^_`|~0-9A-Za-z-]+ \S+ HTTP/\d\.\d\r?")
_BEGINNING = re.compile(rb'[A-Z]+( [^\s"]*( [HTP/.\d]*\r?)?)?')


def is_excess(behind: bytes) -> bool:
    """Whether the bytes behind a body can only be more of it; empty lines do not count."""
    line, end, _ = behind.lstrip(b"\r\n").partition(b"\n")
    if not line:
        return False
    return (_FIRST_LINE if end else _BEGINNING).fullmatch(line) is None
