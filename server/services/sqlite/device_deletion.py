"""Deletes all readings of one device from a file, in small steps, while it may go on reporting.

The number of the device stays, and so do the keys of its posts: a repeated post is still a repeat.
"""

# Only constants are put into SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from functools import partial

from server.services.sqlite import schema
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.hour_sums import next_hour
from server.services.sqlite.old_readings import OLD_READINGS, has_old_readings
from server.services.sqlite.sealing import next_span
from server.services.sqlite.tenant_deletion import BEFORE_ALL, delete_packed

# Slots that one transaction looks at: some milliseconds.
SLOTS_AT_ONCE, ROWS_AT_ONCE = 500, 2000
# While readings are packed or summed up, what was read of them may be written again: the deletion
# waits for the end of that.
BUSY_PAUSE_S = 0.2

_NUMBER = "SELECT id FROM reading_series WHERE tenant_id = ? AND device_id = ?"
_NEWEST = "SELECT max(slot) FROM readings"
_NEXT = "SELECT min(slot) FROM readings WHERE slot > ? AND slot <= ?"
_ROWS = "DELETE FROM readings WHERE slot = ? AND series = ?"
_OLD = f"""DELETE FROM {schema.table(OLD_READINGS)} WHERE rowid IN (SELECT rowid FROM
    {schema.table(OLD_READINGS)} WHERE {schema.value("tenant_id")} = ?1
    AND {schema.value("device_id")} = ?2 LIMIT {ROWS_AT_ONCE})"""


async def delete_device_readings(
    client: SqliteClient, tenant_id: str, device_id: str
) -> AsyncIterator[int]:
    """Delete them; yield about how many at each step, 0 while it waits."""
    if await client.reports.run(has_old_readings):
        while done := await client.writer.run(partial(_old, tenant_id, device_id)):
            yield done
    number = await client.readers.run(partial(_number, tenant_id, device_id))
    if number is None:
        return
    newest = await client.readers.run(_newest)
    slot: int | None = BEFORE_ALL
    while slot is not None:
        found = await client.writer.run(partial(_rows, number, slot, newest))
        if found is None:
            await asyncio.sleep(BUSY_PAUSE_S)
            yield 0
            continue
        done, slot = found
        yield done
    async for done in delete_packed(client, f"[{number}]"):
        yield done


def _number(tenant_id: str, device_id: str, connection: sqlite3.Connection) -> int | None:
    found = connection.execute(_NUMBER, (tenant_id, device_id)).fetchone()
    return None if found is None else found[0]


def _newest(connection: sqlite3.Connection) -> int:
    (slot,) = connection.execute(_NEWEST).fetchone()
    return BEFORE_ALL if slot is None else slot


def _rows(
    number: int, after: int, until: int, connection: sqlite3.Connection
) -> tuple[int, int | None] | None:
    """How many rows of some slots were deleted, and the last of these slots: None after all.

    None while readings are packed or summed up.
    """
    if next_span(connection) is not None or next_hour(connection) is not None:
        return None
    deleted = 0
    for _ in range(SLOTS_AT_ONCE):
        (slot,) = connection.execute(_NEXT, (after, until)).fetchone()
        if slot is None:
            return deleted, None
        deleted += connection.execute(_ROWS, (slot, number)).rowcount
        after = slot
    return deleted, after


def _old(tenant_id: str, device_id: str, connection: sqlite3.Connection) -> int:
    return connection.execute(_OLD, (tenant_id, device_id)).rowcount
