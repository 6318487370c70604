"""Excess: what a client sends behind a body that is longer than its Content-Length says.

By HTTP alone it is the beginning of the next request; what cannot begin one is told to whoever
looks for the fault.
"""

from __future__ import annotations

import re

# In the ASGI state: asks whether the request's body is longer than its Content-Length says.
BODY_IS_LONGER = "bas.body_is_longer"

# The first line of a request, whole or only its beginning. What is left of a cut JSON body has a
# small letter, a digit, a quote or a bracket there.
_FIRST_LINE = re.compile(rb"[!#-'*+.^_`|~0-9A-Za-z-]+ \S+ HTTP/\d\.\d\r?")
_BEGINNING = re.compile(rb'[A-Z]+( [^\s"]*( [HTP/.\d]*\r?)?)?')


def is_excess(behind: bytes) -> bool:
    """Whether what came behind a body can only be more of it; empty lines are nothing."""
    line, end, _ = behind.lstrip(b"\r\n").partition(b"\n")
    if not line:
        return False
    return (_FIRST_LINE if end else _BEGINNING).fullmatch(line) is None
