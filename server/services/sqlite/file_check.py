"""Looks for damage in an open database, for a bounded time."""

from __future__ import annotations

import sqlite3
import threading
import time

# Small tables first: without accounts and zones a server is worth less than without some readings.
_BY_SIZE = """SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'sqlite_*'
    ORDER BY name GLOB 'reading*' OR name IN ('late_readings', 'telemetry', 'audit_log'), name"""


def problems_within(budget_s: float, connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with the tables, one after the other, until the time is over.

    Raises sqlite3.DatabaseError if not even the list of tables can be read.
    """
    until = time.monotonic() + budget_s
    # SQLite's progress handler is not called during a check.
    timer = threading.Timer(budget_s, connection.interrupt)
    timer.start()
    try:
        for (name,) in connection.execute(_BY_SIZE).fetchall():
            if time.monotonic() >= until:
                break
            quoted = name.replace("'", "''")
            found = connection.execute(f"PRAGMA quick_check('{quoted}')").fetchall()
            if problems := [text for (text,) in found if text != "ok"]:
                return [" ".join(problems[0].split())]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
    finally:
        timer.cancel()
        timer.join()
    return []
