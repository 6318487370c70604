"""Copies a database, whole or what it lacks, and prints the progress."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from server.commands.audited import audit_command
from server.commands.command import LegacyOpener
from server.commands.meter import Meter
from server.commands.one_at_a_time import alone
from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.container import Base, CopyEnd, OpenBase
from server.legacy.account_names import AccountNames
from server.legacy.carry_over import ADMIN, carry_over, last_state, replace_admin
from server.legacy.convert_rows import NO_NAME, Conversion
from server.legacy.estimated_times import EstimatedTimes
from server.legacy.import_rows import (
    DocumentTarget,
    ImportTarget,
    LegacyRows,
    ReadingTarget,
    TableImport,
    Tally,
)
from server.processes.run import say
from server.services.firestore import copy
from server.services.firestore.audit_chain import ENDS
from server.services.firestore.audit_copy import link_source, unlink_others
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.copy_progress import CopyProgress
from server.services.firestore.routing import COLLECTIONS
from server.services.firestore.service_factory import Stores
from server.services.ports.documents import StoreUnavailable

# Accounts are listed by name; one example is enough for other rows.
NAMES_MAX = 20
# The exit code if accounts were not copied because of their names.
NAMES_CODE = 3
# How many of the newest rows may be unreadable before nothing is known of setpoint and relays.
NEWEST = 100
# More accounts than an existing server has.
USERS_MAX = 10_000


async def copy_store(
    config: ServerConfig, stores: Mapping[str, CopyEnd], source: str, target: str
) -> int:
    """Copy every collection, each from where an unfinished copy stopped; return the exit code.

    Raises ValueError if the target lacks a part, OSError if another copy or import runs.
    """
    with alone(config.data_dir):
        return await _copy_store(config, stores, source, target)


async def _copy_store(
    config: ServerConfig, stores: Mapping[str, CopyEnd], source: str, target: str
) -> int:
    meter = Meter(SystemClock())
    names = _names(config, stores)
    positions = CopyProgress(config.data_dir / "copy-store.json", names[source], names[target])
    await link_source(stores[source].documents, SystemClock())
    missing = [
        collection
        for collection in COLLECTIONS
        if not await _copied(stores[source], stores[target], collection, positions, meter)
    ]
    # The next copy reads everything, even if this one was incomplete: a saved position that
    # skipped something would skip it again.
    positions.forget()
    audit = AuditStore(stores[target].documents, SystemClock(), config.audit_days, Metrics())
    details = {"from": source, "to": target, "not_complete": missing}
    await audit_command(audit, "STORE_COPIED", details)
    if missing:
        raise ValueError(f"not complete, copy again: {', '.join(missing)}")
    return 0


async def _copied(
    source: CopyEnd,
    target: CopyEnd,
    collection: str,
    positions: CopyProgress,
    meter: Meter,
) -> bool:
    """Copy one collection; return whether the target has all of it."""
    if collection == ENDS:
        await unlink_others(source.documents, target.documents)
    kept = collection in copy.WRITTEN_ONCE
    position = positions.of(collection) if kept else None
    if position is not None:
        say(f"{collection}: going on after {position.seen}, where the last copy stopped")
    if collection == copy.READINGS:
        counting = source.readings.count()
        going = copy.copy_readings(source.readings, target.readings, position)
    else:
        counting = copy.total_of(source.documents, collection)
        going = copy.copy(source.documents, target.documents, collection, position)
    total = None  # it is for the progress alone: a slow store copies page by page
    with suppress(StoreUnavailable):
        total = await counting
    written = 0
    async for progress in going:
        written = progress.written
        if kept and progress.position is not None:
            positions.keep(collection, progress.position)
        meter.show(collection, progress.seen, total)
    if collection == copy.READINGS:
        count = await copy.count_readings(source.readings, target.readings)
    else:
        count = await copy.count(source.documents, target.documents, collection)
    meter.clear()
    say(f"{collection}: {count.found} of {count.source} there, {written} written now")
    return count.found == count.source


def _names(config: ServerConfig, stores: Mapping[str, CopyEnd]) -> dict[str, str]:
    """The identity of each store, which no other store of its kind has."""
    emulator = config.firestore_emulator_host if config.use_emulators else "google"
    database = getattr(stores["firestore"].documents, "database", config.google_cloud_project)
    return {"sqlite": f"{config.database.resolve()}", "firestore": f"{emulator} {database}"}


async def import_legacy(
    config: ServerConfig,
    path: Path,
    legacy: LegacyOpener,
    open_base: OpenBase,
    *,
    replacing: bool = False,
) -> int:
    """Import an existing server's database into the configured stores; return the exit code.

    With `replacing`, the account `admin` gets the password that it has there. Raises OSError if the
    file cannot be read or another copy or import runs, ValueError if the stores lack a part.
    """
    with legacy(path) as source:  # before `open_base`: a wrong path must create no new database
        async with open_base(config) as base:
            with alone(config.data_dir):
                missing = []
                unnamed = 0
                rows: dict[str, int] = {}
                now_ms, hide = base.clock.now_ms(), await base.stores.audit.name_digests()
                for table in source.tables:
                    # The accounts come first: an entry may be about one of them.
                    known = {user.username for user in await base.stores.users.list_users()}
                    names = AccountNames(known, hide)
                    conversion = Conversion(base.stores.audit, now_ms, config.telemetry_days, names)
                    examples = NAMES_MAX if table == "users" else 1
                    target = _target(base.stores, table)
                    rows_of = EstimatedTimes(source, now_ms) if table == copy.READINGS else source
                    work = TableImport(rows_of, table, conversion, target, base.clock, examples)
                    await _imported(work, table, source.count(table), Meter(base.clock))
                    rows[table] = work.written
                    if table == "users":
                        if ADMIN in known:
                            await _admin(base, source, conversion, replacing)
                        refused = work.refused.get(NO_NAME)
                        unnamed = refused.count if refused else 0
                    if table == copy.READINGS:
                        await _state(base, source)
                    if work.found != work.expected:
                        missing.append(table)
                details = {"file": str(path)[:1024], "written": rows, "not_complete": missing}
                await audit_command(base.stores.audit, "LEGACY_IMPORTED", details)
    if missing:
        raise ValueError(f"not complete, import again: {', '.join(missing)}")
    return NAMES_CODE if unnamed else 0


async def _admin(base: Base, source: LegacyRows, conversion: Conversion, replacing: bool) -> None:
    """Offer the existing server's password for `admin`, or take it over."""
    if not replacing:
        say("  admin was here already: --replace-admin gives it the existing server's password")
        return
    rows = source.page("users", None, USERS_MAX)
    done = await replace_admin(base.stores, conversion, rows)
    if done is not None:
        ended = await base.auth.sessions.end_all_of(ADMIN)
        await audit_command(base.stores.audit, "ADMIN_REPLACED", {"sessions_ended": ended})
        say(f"  {done}")


async def _state(base: Base, source: LegacyRows) -> None:
    """Take over setpoint, deadband and relays."""
    state = last_state(source.newest(copy.READINGS, NEWEST))
    if state is not None:
        for line in await carry_over(base.stores, state, base.clock):
            say(f"  {line}")


def _target(stores: Stores, table: str) -> ImportTarget:
    """Where a table's rows go: its name is that of the collection."""
    if table == copy.READINGS:
        return ReadingTarget(stores.telemetry.history)
    return DocumentTarget(stores.client, table)


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
        say(f"  {_tally_text(work.there, 'left alone (there already)')}")
    for kind, tallies in (("not copied", work.refused), ("copied", work.noted)):
        for why, tally in tallies.items():
            say(f"  {_tally_text(tally, f'{kind} ({why})')}")


def _tally_text(tally: Tally, what: str) -> str:
    more = tally.count - len(tally.examples)
    such_as = "such as " if len(tally.examples) == 1 and more else ""
    return f"{tally.count} {what}: {such_as}{', '.join(tally.examples)}" + (
        f" and {more} more" if more and not such_as else ""
    )
