"""The command line of bas_server.py: serve, or run one command."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import uvloop

from server.commands.command import CliCommand, LegacyOpener, Openers, UsageError
from server.common.errors import BasError
from server.common.log_writer import LogWriter, log_to_stderr
from server.common.standard_streams import open_missing
from server.common.version import VERSION
from server.config.config import ServerConfig
from server.config.settings_text import settings_help
from server.config.sources import ConfigError
from server.container import OpenBase, OpenBoth, OpenContainer
from server.processes import known_folder
from server.processes.memory import keep_little
from server.processes.run import serve_alone, serve_as_child, supervise
from server.services.ports.database_files import DatabaseFiles

USAGE_ERROR, FAILURE = 2, 1
RIGHTS = "run this as the server's user, or name a path that this user may use"
# Arguments with which a server starts: it needs no command's module.
SERVING = {"--demo", "--child", "--new-site"}


def main(
    arguments: list[str],
    open_base: OpenBase,
    open_container: OpenContainer,
    open_both: OpenBoth,
    open_legacy: LegacyOpener,
    files: DatabaseFiles,
) -> int:
    """Run one command; return its exit code."""
    open_missing()
    serving = not arguments or arguments[0] in SERVING
    if serving:
        keep_little()
    given = options(arguments)
    openers = Openers(open_base, open_container, open_both, open_legacy, files)
    try:
        config = ServerConfig.from_env()
    except ConfigError as error:
        return _fail(f"{error}", USAGE_ERROR)
    log = log_to_stderr(config.log_level.upper(), config.log_format)
    try:
        if given.command is None:
            return _run(_serve(given, config, openers, log))
        return _run(given.command.run(given, config, openers))
    except BasError as error:
        return _fail(f"{error.error}" + (f": {error.message}" if error.message else ""), FAILURE)
    except UsageError as error:
        return _fail(f"error: {error}", USAGE_ERROR)
    except (OSError, ValueError) as error:
        is_file = isinstance(error, PermissionError) and error.filename is not None
        return _fail(f"{error}: {RIGHTS}" if is_file else str(error), FAILURE)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def options(arguments: list[str]) -> argparse.Namespace | SimpleNamespace:
    """The options of a server, or those of a command with its `command`."""
    if not arguments:
        # As `serving_options` would give it, without the memory of argparse.
        return SimpleNamespace(command=None, child=None, demo=False, new_site=False)
    return (serving_options() if arguments[0] in SERVING else command_line()).parse_args(arguments)


def serving_options() -> argparse.ArgumentParser:
    """The options of a server, which runs without a command."""
    parser = argparse.ArgumentParser(
        prog="bas_server.py",
        description="Building-automation server. Without a command it serves.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=None)
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument(
        "--demo",
        action="store_true",
        help="serve, with simulated zones that post to it; their data are in data/demo",
    )
    parser.add_argument(
        "--new-site",
        action="store_true",
        help="begin a new site in a data folder that is empty, although one was there before",
    )
    # The supervisor passes a child the file numbers of its listening socket and of its channel.
    parser.add_argument("--child", nargs=2, type=int, help=argparse.SUPPRESS)
    return parser


def command_line() -> argparse.ArgumentParser:
    """All options and commands."""
    parser = serving_options()
    parser.epilog = "settings (environment variables):\n" + settings_help()
    parsers = parser.add_subparsers(metavar="COMMAND")
    for command in _commands():
        one = parsers.add_parser(command.name, help=command.help, description=command.description)
        command.arguments(one)
        one.set_defaults(command=command)
    return parser


def _commands() -> list[CliCommand]:
    # Imported here, since a running server does not need them.
    from server.commands import (
        alarms,
        audit,
        compact,
        copy,
        database,
        devices,
        notices,
        simulate,
        tenants,
        tokens,
        users,
        zones,
    )

    modules = (
        *(users, tokens, tenants, devices, zones, alarms, notices),
        *(simulate, copy, compact, database, audit),
    )
    return [command for module in modules for command in module.COMMANDS]


async def _serve(
    options: argparse.Namespace | SimpleNamespace,
    config: ServerConfig,
    openers: Openers,
    log: LogWriter,
) -> int:
    if options.child is not None:
        listening, channel = options.child
        return await serve_as_child(config, listening, channel, openers.container, log)
    if options.demo:
        config = config.of_demo()
    if not options.new_site:
        known_folder.check(config.data_dir)
    if config.processes > 1:
        return await supervise(config, options.demo, openers.base)
    return await serve_alone(config, options.demo, openers.container, log)


def _run(command: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(command)


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"bas_server.py: {text}\n")
    return code
