"""The commands that copy a whole database: copy-store and import-legacy, with their progress."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from server.clock import Clock, SystemClock
from server.config.config import ServerConfig
from server.legacy.conversion import Conversion
from server.legacy.importing import LegacyRows, TableImport, Tally
from server.services.firestore import copying
from server.services.firestore.base import DocumentClient
from server.services.firestore.places import Places
from server.services.firestore.routing import COLLECTIONS
from server.serving import Opener, say

SAY_EVERY_S = 5.0
# Accounts are told by name; of other rows one example shows what is meant.
NAMES_MAX = 20


class LegacyOpener(Protocol):
    """Opens an existing server's database for reading."""

    def __call__(self, path: Path) -> AbstractContextManager[LegacyRows]: ...


class Meter:
    """Says how far a long work is: on a terminal in one line, else in a line every few seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._terminal = sys.stdout.isatty()
        self._said_at = clock.monotonic()

    def show(self, what: str, done: int, total: int) -> None:
        """So much of it is done."""
        text = f"{what}: {done} of {max(done, total)}"
        if self._terminal:
            sys.stdout.write(f"{text}\r")
            sys.stdout.flush()
        elif self._clock.monotonic() - self._said_at >= SAY_EVERY_S:
            self._said_at = self._clock.monotonic()
            say(text)

    def clear(self) -> None:
        """Make room on the terminal for a shorter line."""
        if self._terminal:
            sys.stdout.write("\x1b[K")


async def copy_store(
    config: ServerConfig, stores: Mapping[str, DocumentClient], source: str, target: str
) -> int:
    """Copy every collection, each from where an unfinished copy stopped; the exit code.

    ValueError if not all arrived.
    """
    meter = Meter(SystemClock())
    names = _names(config, stores)
    places = Places(config.data_dir / "copy-store.json", names[source], names[target])
    missing = [
        collection
        for collection in COLLECTIONS
        if not await _copied(stores[source], stores[target], collection, places, meter)
    ]
    # Complete or not, the next copy looks at everything: a place that skipped something is wrong.
    places.forget()
    if missing:
        raise ValueError(f"not complete, copy again: {', '.join(missing)}")
    return 0


async def _copied(
    source: DocumentClient, target: DocumentClient, collection: str, places: Places, meter: Meter
) -> bool:
    """Copy one collection; whether all of it arrived."""
    kept = collection in copying.WRITTEN_ONCE
    place = places.of(collection) if kept else None
    if place is not None:
        say(f"{collection}: going on after {place.seen}, where the last copy stopped")
    total = await copying.size(source, collection)
    written = 0
    async for progress in copying.copy(source, target, collection, place):
        written = progress.written
        if kept and progress.place is not None:
            places.keep(collection, progress.place)
        meter.show(collection, progress.seen, total)
    count = await copying.count(source, target, collection)
    meter.clear()
    say(f"{collection}: {count.found} of {count.source} there, {written} written now")
    return count.found == count.source


def _names(config: ServerConfig, stores: Mapping[str, DocumentClient]) -> dict[str, str]:
    """What tells each store from every other one of its kind."""
    emulator = config.firestore_emulator_host if config.use_emulators else "google"
    database = getattr(stores["firestore"], "database", config.google_cloud_project)
    return {"sqlite": f"{config.database.resolve()}", "firestore": f"{emulator} {database}"}


async def import_legacy(
    config: ServerConfig, path: Path, legacy: LegacyOpener, open_base: Opener
) -> int:
    """Import an existing server's database into the configured stores; the exit code.

    OSError when it cannot be read, ValueError if not all arrived.
    """
    with legacy(path) as source:  # first, so that a wrong path leaves no new database behind
        async with open_base(config) as base:
            conversion = Conversion(base.stores.audit, base.clock.now_ms(), config.telemetry_days)
            missing = []
            for table in source.tables:
                examples = NAMES_MAX if table == "users" else 1
                work = TableImport(source, table, conversion, base.client, base.clock, examples)
                await _imported(work, table, source.count(table), Meter(base.clock))
                if work.found != work.expected:
                    missing.append(table)
    if missing:
        raise ValueError(f"not complete, import again: {', '.join(missing)}")
    return 0


async def _imported(work: TableImport, table: str, total: int, meter: Meter) -> None:
    async for rows in work.run():
        meter.show(table, rows, total)
    async for rows in work.check():
        meter.show(f"{table}, checked", rows, work.rows)
    meter.clear()
    say(
        f"{table}: {work.rows} rows; {work.found} of {work.expected} there,"
        f" {work.written} written now"
    )
    if table == "users" and work.there.count:
        say(f"  {_told(work.there, 'left alone (there already)')}")
    for kind, tallies in (("not copied", work.refused), ("copied", work.noted)):
        for why, tally in tallies.items():
            say(f"  {_told(tally, f'{kind} ({why})')}")


def _told(tally: Tally, what: str) -> str:
    more = tally.count - len(tally.examples)
    such_as = "such as " if len(tally.examples) == 1 and more else ""
    return f"{tally.count} {what}: {such_as}{', '.join(tally.examples)}" + (
        f" and {more} more" if more and not such_as else ""
    )
