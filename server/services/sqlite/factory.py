"""Opens the SQLite file with all that works on it, and works on files that are not open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from server.common.background_task import BackgroundTask
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.ports.database_files import (
    DatabaseFiles,
    FileContents,
    RecoveredTable,
    ShowProgress,
)
from server.services.ports.documents import DocumentClient
from server.services.ports.indexes import Index, load_indexes
from server.services.ports.readings import Reading
from server.services.sqlite.client import SqliteClient
from server.services.sqlite.content_check import ContentCheck
from server.services.sqlite.figures import FileFigures
from server.services.sqlite.history_keeper import HistoryKeeper
from server.services.sqlite.legacy_mirror import LegacyMirror
from server.services.sqlite.reading_history import SqliteHistory
from server.services.sqlite.retention import RetentionTask
from server.services.sqlite.span_retention import SpanRetention


class SqliteParts(NamedTuple):
    """The parts of a site that work on the file, in the order of `Base`.

    They are: what expires, what packs readings, the background work, the seconds for which the
    writing thread has not come back, and a check that raises DatabaseDamaged.
    """

    expiring: SqliteClient
    compaction: HistoryKeeper
    upkeep: Sequence[BackgroundTask]
    stuck_s: Callable[[], float]
    raise_if_damaged: Callable[[], None]


@dataclass(frozen=True)
class SqliteStore:
    """The embedded store: documents, readings, and the work that packs readings.

    Readings are kept for `keep_days`; `figures` measures the files.
    """

    client: SqliteClient
    history: SqliteHistory
    keeper: HistoryKeeper
    figures: FileFigures
    keep_days: int

    def parts(
        self,
        documents: DocumentClient,
        newest_ms: Callable[[], Awaitable[int | None]],
        clock: Clock,
    ) -> SqliteParts:
        """`documents` are all; `newest_ms` is the newest reading's time."""
        client = self.client
        of_readings = SpanRetention(client), self.keep_days
        retention = RetentionTask(client, *of_readings, documents, newest_ms, clock, client.metrics)
        upkeep = (ContentCheck(client), self.keeper, self.figures, retention)
        stuck_s = client.writer.stuck_s
        return SqliteParts(client, self.keeper, upkeep, stuck_s, client.raise_if_damaged)


@asynccontextmanager
async def sqlite_store(
    config: ServerConfig,
    indexes: Sequence[Index],
    clock: Clock,
    metrics: Metrics,
    *,
    patient: bool = False,
) -> AsyncIterator[SqliteStore]:
    """Open the store within the block.

    Raises StoreUnavailable if the file cannot be used, unless `patient`: it is opened later then.
    """
    async with SqliteClient(config.database, indexes, clock, metrics, patient=patient) as client:
        of_file = client, config.database, clock
        keeper = HistoryKeeper(*of_file, config.seal_after_minutes)
        figures = FileFigures(*of_file, metrics, config.seal_after_minutes)
        yield SqliteStore(client, SqliteHistory(client), keeper, figures, config.telemetry_days)


class SqliteFiles(DatabaseFiles):
    """`indexes` is the file of the declared indexes: a recovered database gets them.

    What does the work is imported when it is needed, because a server never does.
    """

    def __init__(self, indexes: Path) -> None:
        self._indexes = indexes

    def back_up(
        self, database: Path, target: Path, replace: bool, report: ShowProgress
    ) -> FileContents:
        from server.services.sqlite.file_copy import back_up

        return back_up(database, target, replace, report)

    def restore(
        self, source: Path, database: Path, now_ms: int, report: ShowProgress
    ) -> FileContents:
        from server.services.sqlite.file_copy import restore

        return restore(source, database, now_ms, report)

    def recover(
        self, damaged: Path, target: Path, replace: bool, report: ShowProgress
    ) -> Sequence[RecoveredTable]:
        from server.services.sqlite.recovery import recover

        return recover(damaged, target, load_indexes(self._indexes), replace, report)


@asynccontextmanager
async def legacy_mirror(
    path: str, clock: Clock, metrics: Metrics
) -> AsyncIterator[Callable[[Iterable[Reading]], None]]:
    """What takes readings for the existing application's file, which is written in the block."""
    if not path:
        yield lambda _: None
        return
    mirror = LegacyMirror(Path(path), clock, metrics)
    mirror.start()
    try:
        yield mirror.take
    finally:
        await mirror.stop()
