"""DocumentClient on SQLite: one file, one writing thread with group commit, few reading threads."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from server.clock import Clock
from server.metrics import Metrics
from server.services.embedded import queries, schema
from server.services.embedded.database_file import DatabaseFile
from server.services.embedded.documents import from_rows
from server.services.embedded.gathered import Found, Gathered
from server.services.embedded.readers import Readers
from server.services.embedded.turnstile import Turnstile
from server.services.embedded.writer import Writer
from server.services.embedded.writes import WriteSet
from server.services.firestore.base import (
    BATCH_MAX,
    Aggregate,
    Document,
    DocumentClient,
    Page,
    Query,
    Retention,
    StoreUnavailable,
    Write,
)
from server.services.firestore.cursors import encode_cursor
from server.services.firestore.indexes import Index, check_figures, check_limit, check_query

WRITER_CACHE_KIB = 2048
READER_CACHE_KIB = 512
REPORT_TIMEOUT_S = 15.0
REPORTS_WAITING_MAX = 16
WAL_RETRY_S = 0.01

logger = logging.getLogger(__name__)


class SqliteClient(DocumentClient, Retention):
    """The embedded store. Its calls belong to the event loop that opened it.

    A field that is ordered by should hold values of one type (or null).
    Other processes may use the same file; a write waits for theirs within its time-out.
    """

    def __init__(
        self,
        path: Path,
        indexes: Sequence[Index],
        clock: Clock,
        metrics: Metrics,
        *,
        write_timeout_s: float = 2.5,
        read_timeout_s: float = 2.5,
        max_waiting: int = 10_000,
        readers: int = 2,
        patient: bool = False,
    ) -> None:
        self._path = path.absolute()
        self._file = DatabaseFile(self._path)
        self._indexes = frozenset(indexes)
        # Whether to go on where the file cannot be used yet.
        self._patient = patient
        self._clock = clock
        self.metrics = metrics
        # How many times the file was opened.
        self._generation = 0
        self._collections = {index.collection for index in indexes}
        # SQLite waits for another process a little shorter than the caller waits for the answer.
        self._busy_s = 0.8 * write_timeout_s
        self._turnstile = Turnstile(self._path.parent, timeout_s=self._busy_s)
        self.writer = Writer(
            self._connect_writer,
            self._turnstile.begin,
            self._file,
            metrics,
            timeout_s=write_timeout_s,
            max_waiting=max_waiting,
        )
        self.readers = Readers(
            self._connect_reader,
            lambda: self._generation,
            metrics,
            count=readers,
            timeout_s=read_timeout_s,
            max_waiting=max_waiting,
        )
        self._gathered = Gathered(self._read_ids, max_waiting, self.readers.refusal)
        # Figures over many documents take seconds: they must not stand in the way of a reading.
        self.reports = Readers(
            self._connect_reader,
            lambda: self._generation,
            metrics,
            count=1,
            timeout_s=REPORT_TIMEOUT_S,
            max_waiting=REPORTS_WAITING_MAX,
        )

    async def open(self) -> None:
        """Create what is missing (folder 0700, file 0600, tables, indexes) and start the threads.

        StoreUnavailable when the file cannot be used: `close` it, or go on, and every call tries to
        open it again.
        """
        failure: Exception | None = None
        for part in (self.writer, self.readers, self.reports):
            try:
                await part.open()
            except (sqlite3.Error, OSError) as error:
                failure = failure or error
        if failure is not None:
            why = self._file.explained(failure)
            raise StoreUnavailable(message=f"it cannot be opened: {why}") from failure

    async def close(self) -> None:
        """Commit every accepted write, then end all threads; later calls are StoreUnavailable."""
        await self.readers.close()
        await self.reports.close()
        await self.writer.close()
        self._turnstile.close()

    async def __aenter__(self) -> SqliteClient:
        try:
            await self.open()
        except StoreUnavailable as error:
            if not self._patient:
                logger.error("Cannot use the database: %s", error.message)
                await self.close()
                raise
            logger.error(
                "Cannot use the database: %s. It is tried again without a restart", error.message
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, collection: str, doc_id: str) -> Document | None:
        return (await self.get_many(collection, (doc_id,))).get(doc_id)

    async def get_many(self, collection: str, doc_ids: Sequence[str]) -> Mapping[str, Document]:
        if len(doc_ids) > BATCH_MAX:
            raise ValueError(f"At most {BATCH_MAX} ids, not {len(doc_ids)}")
        await self._table(collection)
        return await self._gathered.get_many(collection, doc_ids)

    async def write(self, writes: Sequence[Write]) -> list[str]:
        if not 1 <= len(writes) <= BATCH_MAX:
            raise ValueError(f"A batch is 1 to {BATCH_MAX} writes, not {len(writes)}")
        began = self._clock.monotonic()
        batch = WriteSet(writes)
        for write in writes:
            await self._table(write.collection)
        try:
            return await self.writer.run(batch)
        finally:
            self.metrics.store_seconds.observe(self._clock.monotonic() - began)

    async def query(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        check_query(query, self._indexes)
        check_limit(limit)
        statement = queries.select(query, limit, cursor)
        found = await self._documents(query.collection, statement)
        if len(found) <= limit:
            return Page(found, None)
        return Page(found[:limit], encode_cursor(query, found[limit - 1]))

    async def aggregate(self, query: Query, field: str | None = None) -> Aggregate:
        check_query(query, self._indexes)
        if field is not None:
            check_figures(query, field, self._indexes)
        statement = queries.aggregate(query, field)
        await self._table(query.collection)
        count, *figures = await self.reports.run(
            lambda connection: connection.execute(*statement).fetchone()
        )
        return Aggregate(count, *(None if x is None else float(x) for x in figures))

    async def ping(self) -> None:
        await self.readers.run(lambda connection: connection.execute("SELECT 1").fetchone())
        await self.writer.run(lambda connection: None)

    async def delete_expired(self, now_ms: int, limit: int) -> int:
        return await self.writer.run(functools.partial(_delete_expired, now_ms, limit))

    async def _documents(self, collection: str, statement: queries.Statement) -> list[Document]:
        await self._table(collection)
        return await self.readers.run(
            lambda connection: from_rows(connection.execute(*statement).fetchone()[0])
        )

    async def _read_ids(self, wanted: Mapping[str, Sequence[str]]) -> Found:
        statements = {name: queries.select_ids(name, ids) for name, ids in wanted.items()}

        def read(connection: sqlite3.Connection) -> Found:
            return {
                name: {
                    document.id: document
                    for document in from_rows(connection.execute(*statement).fetchone()[0])
                }
                for name, statement in statements.items()
            }

        return await self.readers.run(read)

    async def _table(self, collection: str) -> None:
        """Make the collection's table if this is its first use."""
        if collection not in self._collections:
            statements = tuple(schema.create_statements(collection, self._indexes))
            await self.writer.run(lambda connection: _execute_all(connection, statements))
            self._collections.add(collection)

    def _connect_writer(self) -> sqlite3.Connection:
        if not self._file.was_opened:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        elif self._file.look() is None:
            # A new one would have no accounts: that is for an operator to decide.
            raise sqlite3.OperationalError(
                "it is gone: put it back, or restart the server for a new one"
            )
        self._turnstile.open()
        with self._turnstile.first():
            self._file.part_from_replaced()
        # Before it is opened: should another one come in its place meanwhile, that is noticed.
        found = self._file.look()
        # No time-out of SQLite's own: the turnstile waits, and for nothing else is there a wait.
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            self._use_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
            self._turnstile.begin(connection)
            for collection in sorted(self._collections):
                _execute_all(connection, schema.create_statements(collection, self._indexes))
            connection.execute("COMMIT")
        except sqlite3.Error:
            connection.close()
            raise
        self._file.opened(found)
        self._generation += 1
        return connection

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to WAL; SQLite itself does not wait while another process does the same."""
        for _ in range(int(self._busy_s / WAL_RETRY_S)):
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")
                return
            time.sleep(WAL_RETRY_S)
        connection.execute("PRAGMA journal_mode = WAL")

    def _connect_reader(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=ro",
            uri=True,
            timeout=self._busy_s,
            isolation_level=None,
        )
        connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
        return connection


def _execute_all(connection: sqlite3.Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        connection.execute(statement)


def _delete_expired(now_ms: int, limit: int, connection: sqlite3.Connection) -> int:
    deleted = 0
    for (collection,) in connection.execute(schema.COLLECTIONS).fetchall():
        statement = schema.delete_expired_statement(collection)
        deleted += connection.execute(statement, (now_ms, limit - deleted)).rowcount
        if deleted >= limit:
            break
    return deleted
