"""DocumentClient on SQLite: keeps all documents in one file, with one writer and a few readers."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from server.common.clock import Clock
from server.common.metrics import Metrics
from server.common.slow_start import said_if_slow
from server.services.ports.cursors import encode_cursor
from server.services.ports.documents import (
    BATCH_MAX,
    Aggregate,
    DatabaseDamaged,
    Document,
    DocumentClient,
    Page,
    Query,
    Retention,
    StoreUnavailable,
    Write,
)
from server.services.ports.indexes import Index, check_figures, check_limit, check_query
from server.services.sqlite import expiry, queries, schema
from server.services.sqlite.database_file import DatabaseFile
from server.services.sqlite.documents import from_rows
from server.services.sqlite.file_check import problems_within
from server.services.sqlite.file_version import VERSION, NewerFile, check_version
from server.services.sqlite.grouped_reads import Found, GroupedReads
from server.services.sqlite.reader_threads import ReaderThreads
from server.services.sqlite.reading_tables import TABLES
from server.services.sqlite.reading_writes import NO_READINGS, ReadingSet
from server.services.sqlite.write_statements import WriteSet
from server.services.sqlite.write_turns import WriteTurns
from server.services.sqlite.writer_thread import WriterThread

WRITER_CACHE_KIB = 2048
READER_CACHE_KIB = 512
REPORT_TIMEOUT_S = 15.0
REPORTS_WAITING_MAX = 16
WAL_RETRY_S = 0.01
# A read that takes long lets the -wal file grow; afterwards it is cut to this size.
WAL_BYTES_KEPT = 16 * 1024 * 1024

logger = logging.getLogger(__name__)


class SqliteClient(DocumentClient, Retention):
    """The embedded store. Call it only from the event loop that opened it.

    A field that orders a query should hold values of one type (or null). Other processes may use
    the same file; a write waits for their writes within its time-out.
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
        self._file = DatabaseFile(self._path, metrics.store_damaged.set)
        self._indexes = frozenset(indexes)
        # Whether `async with` continues if the file cannot be used yet.
        self._patient = patient
        self._clock = clock
        self.metrics = metrics
        # Counts how often the file was opened; what is known of its content may change then.
        self.generation = 0
        self._collections = {index.collection for index in indexes}
        # The wait for another process's lock is a little shorter than the caller's time-out.
        self._busy_s = 0.8 * write_timeout_s
        self._write_turns = WriteTurns(self._path.parent, timeout_s=self._busy_s)
        self.writer = WriterThread(
            self._connect_writer,
            self._write_turns.begin,
            self._file,
            metrics,
            timeout_s=write_timeout_s,
            max_waiting=max_waiting,
        )
        self.readers = ReaderThreads(
            self._connect_reader,
            lambda: self.generation,
            metrics,
            count=readers,
            timeout_s=read_timeout_s,
            max_waiting=max_waiting,
            is_noted=self._file.note,
        )
        self._grouped_reads = GroupedReads(self._read_ids, max_waiting, self.readers.refusal)
        # Figures over many documents take seconds: a separate thread keeps other reads fast.
        self.reports = ReaderThreads(
            self._connect_reader,
            lambda: self.generation,
            metrics,
            count=1,
            timeout_s=REPORT_TIMEOUT_S,
            max_waiting=REPORTS_WAITING_MAX,
            is_noted=self._file.note,
        )

    async def open(self) -> None:
        """Create the missing folder (0700), file (0600), tables and indexes; start the threads.

        Raises StoreUnavailable if the file cannot be used. Then call `close`, or continue: every
        call tries to open the file again.
        """
        failure: Exception | None = None
        for part in (self.writer, self.readers, self.reports):
            try:
                async with said_if_slow(f"the database {self._path} is being opened"):
                    await part.open()
            except (sqlite3.Error, OSError, NewerFile) as error:
                failure = failure or error
        if isinstance(failure, NewerFile):
            await self.close()
            raise failure
        if failure is not None:
            why = self._file.explained(failure)
            raise StoreUnavailable(message=f"it cannot be opened: {why}") from failure

    async def close(self) -> None:
        """Commit every accepted write and end all threads; later calls raise StoreUnavailable."""
        await self.readers.close()
        await self.reports.close()
        await self.writer.close()
        self._write_turns.close()

    async def __aenter__(self) -> SqliteClient:
        try:
            await self.open()
        except StoreUnavailable as error:
            if not self._patient or isinstance(error, NewerFile):
                logger.error("cannot use the database: %s", error.message)
                await self.close()
                raise
            logger.error(
                "cannot use the database: %s. The server retries without a restart", error.message
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
        return await self._grouped_reads.get_many(collection, doc_ids)

    async def write(self, writes: Sequence[Write], readings: ReadingSet = NO_READINGS) -> list[str]:
        """Apply 1 to BATCH_MAX writes atomically, together with readings; see `DocumentClient`."""
        if not 1 <= len(writes) + len(readings.rows) <= BATCH_MAX:
            raise ValueError(f"A batch is 1 to {BATCH_MAX} writes, not {len(writes)}")
        began = self._clock.monotonic()
        batch = WriteSet(writes, readings)
        for write in writes:
            await self._table(write.collection)
        if readings.demand is not None:
            await self._table(readings.demand.collection)
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

    async def check_content(self, budget_s: float) -> None:
        """Look for damage in the file for at most `budget_s`; what is found is logged."""
        problems = await self.reports.run(functools.partial(problems_within, budget_s))
        if problems:
            self._file.found_damage(problems[0])

    @property
    def is_damaged(self) -> bool:
        """Whether damage was found in the file that is open now."""
        return bool(self._file.damage)

    def raise_if_damaged(self) -> None:
        """Raise DatabaseDamaged if the file is damaged."""
        if self.is_damaged:
            raise DatabaseDamaged(
                code="DATABASE_DAMAGED", message=f"{self._file.damage}: {self._file.remedy}"
            )

    async def delete_expired(self, now_ms: int, limit: int) -> int:
        now = expiry.Now(now_ms, self._clock.boot, int(self._clock.uptime_ms()))
        unindexed = schema.EXPIRY_NOT_INDEXED & self._collections
        # Without an index all documents are read, so that the writing thread must not do it.
        found = await self.reports.run(
            functools.partial(expiry.find_expired, now, limit, unindexed)
        )
        return await self.writer.run(functools.partial(expiry.delete_expired, now, limit, found))

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
        """Create the collection's table on its first use."""
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
            # A new file would have no accounts, so an operator must decide.
            raise sqlite3.OperationalError(
                "it is gone: put it back, or restart the server for a new one"
            )
        self._write_turns.open()
        with self._write_turns.first():
            self._file.set_old_files_aside()
        # Before the file is opened, so that a replacement during the opening is noticed.
        found = self._file.look()
        # SQLite itself must not wait (timeout=0): the turnstile waits for the lock.
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None)
        try:
            self._prepare(connection)
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
            self._write_turns.begin(connection)
            _execute_all(connection, TABLES)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            for collection in sorted(self._collections):
                _execute_all(connection, schema.create_statements(collection, self._indexes))
            connection.execute("COMMIT")
        except (sqlite3.Error, StoreUnavailable):
            connection.close()
            raise
        self._file.opened(found)
        self.generation += 1
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Check the file's version and switch it to WAL.

        With retries, because SQLite does not wait while another process switches.
        """
        for _ in range(int(self._busy_s / WAL_RETRY_S)):
            with contextlib.suppress(sqlite3.OperationalError):
                self._switch(connection)
                return
            time.sleep(WAL_RETRY_S)
        self._switch(connection)

    def _switch(self, connection: sqlite3.Connection) -> None:
        check_version(connection, self._path)
        if self._path.stat().st_size == 0:
            # SQLite ignores this once anything is in the file, also the mode below.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
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
