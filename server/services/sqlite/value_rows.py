"""Runs one statement for many rows, as the rows of one VALUES.

Each call into SQLite releases Python's lock and may wait milliseconds for it while the event loop
is busy. A group of any number of rows is therefore a few statements.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

# Numbers of rows that a statement may have. Rows of NULL, which write nothing, fill a statement up
# to the next size, so that a few prepared statements serve any number of rows.
_SIZES = (1, 4, 16, 64, 256)


def execute_rows(
    connection: sqlite3.Connection, before: str, behind: str, rows: Sequence[Sequence[Any]]
) -> int:
    """Run `before (VALUES ...) behind` for all rows, which have equal lengths.

    The statement must write nothing for a row of NULL. Returns how many rows it changed.
    """
    changed = 0
    for start in range(0, len(rows), _SIZES[-1]):
        some = rows[start : start + _SIZES[-1]]
        width = len(some[0])
        size = next(size for size in _SIZES if size >= len(some))
        values = list(chain(*some))
        values += [None] * (width * (size - len(some)))
        changed += connection.execute(_sql(before, behind, width, size), values).rowcount
    return changed


@lru_cache(maxsize=1024)
def _sql(before: str, behind: str, width: int, rows: int) -> str:
    row = f"({','.join('?' * width)})"
    return f"{before}(VALUES {','.join([row] * rows)}){behind}"
