"""The commands that copy data: copy-store and import-legacy."""

from __future__ import annotations

import argparse
from pathlib import Path

from server.commands.command import CliCommand, Openers, UsageError
from server.commands.copy_data import copy_store, import_legacy
from server.config.config import ServerConfig

STORES = ("sqlite", "firestore")


def _copy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", required=True, choices=STORES)
    parser.add_argument("--to", dest="target", required=True, choices=STORES)


async def _copy(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    if options.source == options.target:
        raise UsageError("copy-store: --from and --to are the same store")
    if options.source == "sqlite" and not config.database.exists():
        raise FileNotFoundError(f"nothing to copy: {config.database} is not there")
    async with openers.both(config) as stores:
        return await copy_store(config, stores, options.source, options.target)


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH")
    parser.add_argument(
        "--replace-admin",
        action="store_true",
        help="give the account admin, made at this server's first start, its password there",
    )


async def _import(options: argparse.Namespace, config: ServerConfig, openers: Openers) -> int:
    opened = openers.legacy, openers.base
    return await import_legacy(config, options.path, *opened, replacing=options.replace_admin)


COMMANDS = (
    CliCommand(
        "copy-store",
        "copy all data between SQLite and Firestore",
        _copy_arguments,
        _copy,
        "Copies all data from one store to the other, over what differs there. Stop the"
        " server first: what it writes during the copy may be missed. The copy may be repeated at"
        " any time, and goes on where it was interrupted.",
    ),
    CliCommand(
        "import-legacy",
        "copy an existing server's bas_telemetry.db into the configured store",
        _import_arguments,
        _import,
        "Copies users, telemetry and audit entries of an existing server. Its file is"
        " only read, and either server may be running. It may be repeated at any time: what is"
        " there is left as it is, and only what is new is copied. Setpoint, deadband and relays are"
        " those of the newest reading. Exit code 3: all else is copied, but some accounts need"
        " another name.",
    ),
)
