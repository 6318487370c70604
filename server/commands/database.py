"""The commands for the database file: backup, restore, recover."""

from __future__ import annotations

import argparse
import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from server.commands.command import CliCommand, Openers, UsageError
from server.commands.meter import Meter
from server.commands.one_at_a_time import alone, no_server
from server.common.clock import SystemClock
from server.config.config import ServerConfig
from server.processes.run import say
from server.services.firestore.routing import collections_on_firestore
from server.services.ports.database_files import FileContents, RecoveredTable, ShowProgress

T = TypeVar("T")
RECOVERED_SUFFIX = ".recovered"
# Files of a data folder that hold no data.
NO_DATA = {"server.lock", "copying.lock"}
NO_DATA_SUFFIXES = (".turns", ".sealing", ".unfinished")


class Ended(Exception):
    """The operator ended the command: its thread is to stop."""


def _backup_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="the new file; in a folder, it is named after the time: bas-20261130T054500Z.db",
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    parser.add_argument(
        "--sqlite-part",
        action="store_true",
        help="with Firestore: back up what is in SQLite, although the rest is missing",
    )


async def _backup(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    if config.uses_firestore and not options.sqlite_part:
        raise UsageError(
            f"backup: Firestore holds {', '.join(sorted(collections_on_firestore(config)))}, which"
            " a copy of the SQLite file lacks. Copy all into another folder instead:"
            " BAS_DATA_DIR=FOLDER bas_server.py copy-store --from firestore --to sqlite; or add"
            " --sqlite-part"
        )
    if not config.database.exists():
        raise FileNotFoundError(f"nothing to back up: {config.database} is not there")
    clock, target = SystemClock(), options.path
    if target.is_dir():
        at = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
        target /= f"bas-{at:%Y%m%dT%H%M%SZ}.db"
    found = await _in_thread(
        lambda report: openers.files.back_up(config.database, target, options.force, report)
    )
    say(f"{target}: {_contents(found)}, read back and complete")
    if target.stat().st_mode & 0o077:
        say(f"others can read {target}: it holds accounts and device keys, so keep it private")
    return 0


def _restore_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="a file that backup made")


async def _restore(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    if not options.path.is_file():
        raise FileNotFoundError(f"there is no file {options.path}")
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    now_ms = SystemClock().now_ms()
    with no_server(config.data_dir), alone(config.data_dir):
        _need_empty(config.data_dir, options.path)
        found = await _in_thread(
            lambda report: openers.files.restore(options.path, config.database, now_ms, report)
        )
    say(f"{config.database}: {_contents(found)}, read back and complete")
    say("coolers count as switched off now, until their devices post")
    return 0


def _need_empty(folder: Path, source: Path) -> None:
    """Raise OSError if a file in the folder could be a server's. It may hold other folders."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() or path.name in NO_DATA or path.name.endswith(NO_DATA_SUFFIXES):
            continue
        if not path.name.startswith(".") and not path.samefile(source):
            raise FileExistsError(
                f"{folder} is not empty: move {path.name} and what belongs to it into another"
                " folder, or name an empty one in BAS_DATA_DIR"
            )


def _recover_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="the damaged file: it is only read")
    parser.add_argument(
        "--to",
        type=Path,
        metavar="NEW",
        help=f"the new file (default: PATH{RECOVERED_SUFFIX})",
    )
    parser.add_argument("--force", action="store_true", help="replace the new file if it exists")


async def _recover(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    damaged = options.path
    if not damaged.is_file():
        raise FileNotFoundError(f"there is no file {damaged}")
    target = options.to or damaged.with_name(f"{damaged.name}{RECOVERED_SUFFIX}")
    with no_server(damaged.parent):
        tables = await _in_thread(
            lambda report: openers.files.recover(damaged, target, options.force, report)
        )
    for table in tables:
        say(_line(table))
    # No sum: a lost row of one table is a reading, of another two hours of them.
    lost = ", ".join(table.name for table in tables if table.lost)
    rows = sum(table.rows for table in tables)
    say(
        f"{target}: {rows} rows, read back; {f'rows were lost of: {lost}' if lost else 'none lost'}"
    )
    return 0


def _line(table: RecoveredTable) -> str:
    text = f"{table.name}: {table.rows} row{'' if table.rows == 1 else 's'}"
    if table.lost:
        about = "" if table.is_exact else "about " if table.rows else "at least "
        text += f"; {about}{table.lost} lost"
    if table.which and (table.lost or not table.is_exact):
        text += f": {'; '.join(table.which)}"
    return text


def _contents(found: FileContents) -> str:
    return f"{found.size / 10**6:.1f} MB, {sum(found.rows.values())} rows"


async def _in_thread(work: Callable[[ShowProgress], T]) -> T:
    """Run the work in a thread and show its progress; Ctrl-C ends it at its next step."""
    meter, ended = Meter(SystemClock()), threading.Event()

    def report(what: str, done: int, total: int) -> None:
        if ended.is_set():
            raise Ended
        meter.show(what, done, total)

    try:
        return await asyncio.to_thread(work, report)
    finally:
        ended.set()
        meter.clear()


COMMANDS = (
    CliCommand(
        "backup",
        "copy the database into one file, beside a running server or alone",
        _backup_arguments,
        _backup,
        "Copies the database as it is at one moment, and reads the copy back. The server may be"
        " running: the copy takes at most a third of the time of the disk and of one core. PATH"
        " appears when the copy is complete. It holds accounts and device keys, and only its owner"
        " can read it.",
    ),
    CliCommand(
        "restore",
        "copy a back-up into an empty data folder",
        _restore_arguments,
        _restore,
        "Copies a file that backup made to BAS_DATA_DIR/bas.db, and reads it back. Stop the server"
        " first, and move what is in the folder away. The setpoints are those of the back-up;"
        " relays are unknown, and coolers keep their minimum off time from now on.",
    ),
    CliCommand(
        "recover",
        "write what can be read of a damaged database into a new file",
        _recover_arguments,
        _recover,
        "Reads all pages of the damaged file and of its -wal, writes every row that can be read"
        " into a new file, and prints for each table how many rows there are and which are lost."
        " Stop the server first. The damaged file is only read.",
    ),
)
