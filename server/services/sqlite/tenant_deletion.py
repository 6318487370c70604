"""Deletes all readings of one tenant from a file, in small steps."""

# Only constants are put into SQL; values are bound.
# ruff: noqa: S608

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from functools import partial

import msgspec

from server.services.ports.documents import StoreUnavailable
from server.services.sqlite import schema
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.old_readings import OLD_READINGS, has_old_readings
from server.services.sqlite.reading_writes import live_periods

# What one transaction deletes, or looks at: some milliseconds.
BLOCKS_AT_ONCE, ROWS_AT_ONCE = 100, 2000

_OF_TENANT = "SELECT id FROM reading_series WHERE tenant_id = ?"
_IN = "IN (SELECT value FROM json_each(?1))"
_BLOCKS = f"SELECT rowid, count FROM reading_blocks WHERE series {_IN} LIMIT ?2"
_LATE = f"""DELETE FROM late_readings WHERE (series, slot, ms, n) IN
    (SELECT series, slot, ms, n FROM late_readings WHERE series {_IN} LIMIT ?2)"""
# A deleted hour makes its day a changed one, so the hours come first.
_SUMS = tuple(
    f"""DELETE FROM {table} WHERE (series, {column}) IN
    (SELECT series, {column} FROM {table} WHERE series {_IN} LIMIT ?2)"""
    for table, column in (
        ("reading_hours", "hour"),
        ("changed_days", "day"),
        ("reading_days", "day"),
    )
)
# The keys of these two tables begin with something else: they are passed through once.
_SLOT = "SELECT max(slot) FROM (SELECT slot FROM readings WHERE slot > ?1 ORDER BY slot LIMIT ?2)"
_NEW = f"DELETE FROM readings WHERE slot > ?2 AND slot <= ?3 AND series {_IN}"
_KEY = """SELECT max(key) FROM
    (SELECT key FROM reading_keys WHERE period = ?1 AND key > ?2 ORDER BY key LIMIT ?3)"""
_KEYS = f"DELETE FROM reading_keys WHERE period = ?2 AND key > ?3 AND key <= ?4 AND series {_IN}"
_OLD = f"""DELETE FROM {schema.table(OLD_READINGS)} WHERE rowid IN (SELECT rowid FROM
    {schema.table(OLD_READINGS)} WHERE {schema.value("tenant_id")} = ?1 LIMIT ?2)"""
_SERIES = f"""DELETE FROM reading_series WHERE id {_IN} AND id NOT IN (
    SELECT series FROM readings UNION SELECT series FROM late_readings UNION
    SELECT series FROM reading_blocks UNION SELECT series FROM reading_keys UNION
    SELECT series FROM reading_hours UNION SELECT series FROM reading_days)"""
BEFORE_ALL = -(2**63)
# One is enough, unless a process that packs readings writes a block in between.
PASSES_MAX = 5


def tenants_with_readings(connection: sqlite3.Connection) -> list[str]:
    """Every tenant of which there are devices in the tables, or readings that are documents."""
    sql = "SELECT DISTINCT tenant_id FROM reading_series"
    if has_old_readings(connection):
        table = schema.table(OLD_READINGS)
        sql += f" UNION SELECT DISTINCT {schema.value('tenant_id')} FROM {table}"
    return sorted(tenant_id for (tenant_id,) in connection.execute(sql).fetchall())


async def delete_readings(client: SqliteClient, tenant_id: str) -> AsyncIterator[int]:
    """Delete them; yield about how many at each step.

    The numbers of the tenant's devices go last, and may be given to other devices then. So no
    process that knows them may write on: see `ReadingHistory.delete_tenant`. Raises
    StoreUnavailable if one does.
    """
    if await client.reports.run(has_old_readings):
        async for done in _in_steps(client, partial(_delete, _OLD, tenant_id)):
            yield done
    for _ in range(PASSES_MAX):
        ids = await client.readers.run(partial(_numbers, tenant_id))
        if not ids:
            return
        async for done in _delete_all(client, ids):
            yield done
        await client.writer.run(partial(_forget_series, ids))
    raise StoreUnavailable(message="another process stores readings of the tenant: stop it")


async def _delete_all(client: SqliteClient, ids: str) -> AsyncIterator[int]:
    """Delete what the tables have of these devices."""
    for pass_through in (_delete_new, _forget_keys, delete_packed):
        async for done in pass_through(client, ids):
            yield done


async def delete_packed(client: SqliteClient, ids: str) -> AsyncIterator[int]:
    """Delete the packed and the late readings of devices, and the sums; `ids` is a JSON array."""
    for step in (partial(_delete_blocks, ids), partial(_delete, _LATE, ids)):
        async for done in _in_steps(client, step):
            yield done
    for sql in _SUMS:
        async for _ in _in_steps(client, partial(_delete, sql, ids)):
            yield 0


async def _in_steps(
    client: SqliteClient, step: Callable[[sqlite3.Connection], int]
) -> AsyncIterator[int]:
    """Take this step until it deletes nothing; yield what each deleted."""
    while done := await client.writer.run(step):
        yield done


async def _delete_new(client: SqliteClient, ids: str) -> AsyncIterator[int]:
    slot = BEFORE_ALL
    while True:
        step: Callable[[sqlite3.Connection], tuple[int, int | None]] = partial(_new, ids, slot)
        done, last = await client.writer.run(step)
        if last is None:
            return
        slot = last
        yield done


async def _forget_keys(client: SqliteClient, ids: str) -> AsyncIterator[int]:
    for period in await client.readers.run(live_periods):
        key: bytes | None = b""
        while key is not None:
            key = await client.writer.run(partial(_keys, ids, period, key))
            yield 0


def _numbers(tenant_id: str, connection: sqlite3.Connection) -> str:
    """The numbers of the tenant's devices as JSON; empty without any."""
    found = [number for (number,) in connection.execute(_OF_TENANT, (tenant_id,)).fetchall()]
    return msgspec.json.encode(found).decode() if found else ""


def _delete(sql: str, which: str, connection: sqlite3.Connection) -> int:
    return connection.execute(sql, (which, ROWS_AT_ONCE)).rowcount


def _delete_blocks(ids: str, connection: sqlite3.Connection) -> int:
    """The number of readings in the blocks that were deleted; at least 1 if there were any."""
    found = connection.execute(_BLOCKS, (ids, BLOCKS_AT_ONCE)).fetchall()
    rows = msgspec.json.encode([rowid for rowid, _ in found]).decode()
    connection.execute(f"DELETE FROM reading_blocks WHERE rowid {_IN}", (rows,))
    readings: int = sum(count for _, count in found)
    return max(readings, len(found))


def _new(ids: str, after: int, connection: sqlite3.Connection) -> tuple[int, int | None]:
    (last,) = connection.execute(_SLOT, (after, ROWS_AT_ONCE)).fetchone()
    if last is None:
        return 0, None
    return connection.execute(_NEW, (ids, after, last)).rowcount, last


def _keys(ids: str, period: int, after: bytes, connection: sqlite3.Connection) -> bytes | None:
    last: bytes | None
    (last,) = connection.execute(_KEY, (period, after, ROWS_AT_ONCE)).fetchone()
    if last is not None:
        connection.execute(_KEYS, (ids, period, after, last))
    return last


def _forget_series(ids: str, connection: sqlite3.Connection) -> None:
    connection.execute(_SERIES, (ids,))
