"""The commands for zones in and out as CSV: export-zones, import-zones."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from server.commands.admin import console
from server.commands.arguments import add_tenant
from server.commands.command import CliCommand, Openers
from server.common.errors import Invalid
from server.config.config import ServerConfig
from server.processes.run import say
from server.routes.zone_files import wrong_text

FILE_MAX = 2_000_000


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="the CSV file; - reads the standard input")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")
    add_tenant(parser)


async def _export(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    async with openers.container(config) as opened:
        sys.stdout.write(await opened.control.zone_files.export(options.tenant))
    return 0


async def _import(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    text, actor = _read(options.file), console()
    async with openers.container(config) as opened:
        files, about = opened.control.zone_files, (actor.name, actor.address, wrong_text)
        done = await files.run(options.tenant, text, *about, dry_run=True)
        for line in done.texts:
            say(line)
        while not options.dry_run and not done.refused:
            done = await files.run(options.tenant, text, *about, dry_run=False)
            if not done.left:
                break
    say(done.summary)
    return 1 if done.refused else 0


def _read(path: Path) -> str:
    """The text of a file. Raises Invalid, OSError."""
    raw = sys.stdin.buffer.read(FILE_MAX + 1) if str(path) == "-" else path.read_bytes()
    if len(raw) > FILE_MAX:
        raise Invalid("Too large", message=f"the file has more than {FILE_MAX:,} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Invalid("Invalid CSV", "INVALID_CSV", "the file is no UTF-8 text") from None


COMMANDS = (
    CliCommand(
        "export-zones",
        "write all zones as CSV",
        add_tenant,
        _export,
        "Writes name, location, setpoint and deadband of each zone to the standard output.",
    ),
    CliCommand(
        "import-zones",
        "change zones by a CSV file",
        _import_arguments,
        _import,
        "Changes name, location, setpoint and deadband of the zones that the file names. If one"
        " line is refused, nothing is changed.",
    ),
)
