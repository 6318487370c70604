"""log_failure: logs unexpected errors with their tracebacks, but the same one only now and then."""

from __future__ import annotations

import logging
from collections import Counter

from server.common.seldom import Seldom

KINDS_MAX = 100

_seldom = Seldom()
_left_out: Counter[str] = Counter()


def log_failure(log: logging.Logger, error: BaseException, text: str, *about: object) -> None:
    """Log `text` and the traceback, once a minute for errors of one kind from one line of code.

    A failure that lasts would otherwise write its traceback for every request. The next line says
    how many were left out.
    """
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    line = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else ""
    kind = f"{type(error).__name__} {line}"
    if not _seldom.may_log(kind):
        if kind in _left_out or len(_left_out) < KINDS_MAX:
            _left_out[kind] += 1
        return
    if more := _left_out.pop(kind, 0):
        text += " (and %d times before in the same way, without a line each)"
        about += (more,)
    log.error(text, *about, exc_info=error)
