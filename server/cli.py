"""The command line of bas_server.py: serve, simulate, administration, and copying."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import logging
import re
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from server.auth.principal import DEFAULT_TENANT
from server.config.config import ConfigError, ServerConfig, settings_help
from server.errors import BasError
from server.services.firestore.models import ROLES
from server.serving import DEMO_ZONES, Opener, say, serve_alone, serve_as_child, supervise
from server.version import VERSION

if TYPE_CHECKING:
    from server.copying_commands import LegacyOpener

log = logging.getLogger(__name__)

USAGE_ERROR, FAILURE = 2, 1
STORES = ("sqlite", "firestore")


def main(
    arguments: list[str],
    open_base: Opener,
    open_container: Opener,
    open_both: Opener,
    open_legacy: LegacyOpener,
) -> int:
    """Run one command; its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "copy-store" and options.source == options.target:
        parser.error("copy-store: --from and --to are the same store")
    try:
        config = ServerConfig.from_env()
    except ConfigError as error:
        return _fail(f"{error}", USAGE_ERROR)
    logging.basicConfig(
        level=config.log_level.upper(),
        format="%(asctime)s %(process)d %(levelname)s %(name)s %(message)s",
    )
    try:
        return _run(_command(options, config, open_base, open_container, open_both, open_legacy))
    except BasError as error:
        return _fail(f"{error.error}" + (f": {error.message}" if error.message else ""), FAILURE)
    except (OSError, ValueError) as error:
        return _fail(str(error), FAILURE)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bas_server.py",
        description="Building-automation server. Without a command it serves.",
        epilog="settings (environment variables):\n" + settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument(
        "--demo", action="store_true", help="serve, with simulated zones that post to it"
    )
    # A child of the supervisor: its listening socket, and its end of the channel.
    parser.add_argument("--child", nargs=2, type=int, help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    user = commands.add_parser("create-user", help="create an account")
    user.add_argument("name")
    user.add_argument("--role", required=True, choices=ROLES)
    user.add_argument("--tenant", type=_tenant, default=DEFAULT_TENANT)
    password = commands.add_parser("set-password", help="set an account's password")
    password.add_argument("name")
    for each in (user, password):
        each.add_argument(
            "--password-stdin", action="store_true", help="read the password from standard input"
        )
    commands.add_parser("list-users", help="list the accounts")
    device = commands.add_parser("register-device", help="give a device a key, told once")
    device.add_argument("device_id")
    device.add_argument("--tenant", type=_tenant, default=DEFAULT_TENANT)
    simulate = commands.add_parser("simulate", help="post readings of simulated zones")
    simulate.add_argument("--zones", type=int, default=DEMO_ZONES, metavar="N")
    simulate.add_argument("--url", default="http://127.0.0.1:8080")
    copy = commands.add_parser(
        "copy-store",
        help="copy all data between SQLite and Firestore",
        description="Copies all data from one store to the other, over what differs there. Stop the"
        " server first: what it writes meanwhile may be missed. It may be repeated at any time, and"
        " goes on where it was interrupted.",
    )
    copy.add_argument("--from", dest="source", required=True, choices=STORES)
    copy.add_argument("--to", dest="target", required=True, choices=STORES)
    legacy = commands.add_parser(
        "import-legacy",
        help="copy an existing server's bas_telemetry.db into the configured store",
        description="Copies users, telemetry and audit entries of an existing server. Its file is"
        " only read, and either server may be running. It may be repeated at any time: what is"
        " there is left as it is, and only what is new is copied.",
    )
    legacy.add_argument("path", type=Path, metavar="PATH")
    return parser


async def _command(
    options: argparse.Namespace,
    config: ServerConfig,
    open_base: Opener,
    open_container: Opener,
    open_both: Opener,
    open_legacy: LegacyOpener,
) -> int:
    if options.command is None:
        if options.child is not None:
            listening, channel = options.child
            return await serve_as_child(config, listening, channel, open_container)
        if config.processes > 1:
            return await supervise(config, options.demo, open_base)
        return await serve_alone(config, options.demo, open_container)
    if options.command == "simulate":
        return await _simulate(options.url, options.zones)
    if options.command in {"copy-store", "import-legacy"}:
        return await _copy(options, config, open_base, open_both, open_legacy)
    async with open_base(config) as base:
        return await _administer(options, base.admin)


async def _copy(
    options: argparse.Namespace,
    config: ServerConfig,
    open_base: Opener,
    open_both: Opener,
    open_legacy: LegacyOpener,
) -> int:
    # Not at the top: a server that runs has no use for any of it.
    from server import copying_commands as copying

    if options.command == "copy-store":
        if options.source == "sqlite" and not config.database.exists():
            raise FileNotFoundError(f"nothing to copy: {config.database} is not there")
        async with open_both(config) as stores:
            return await copying.copy_store(config, stores, options.source, options.target)
    return await copying.import_legacy(config, options.path, open_legacy, open_base)


async def _administer(options: argparse.Namespace, admin: Any) -> int:
    if options.command == "create-user":
        password = _password(options)
        await admin.create_user(options.name, password, options.role, options.tenant)
        say(f"created {options.name} ({options.role}, tenant {options.tenant})")
    elif options.command == "set-password":
        ended = await admin.set_password(options.name, _password(options))
        say(f"password of {options.name} set; {ended} sessions ended")
    elif options.command == "list-users":
        for user in await admin.list_users():
            say(f"{user.username}\t{user.role}\t{user.tenant_id}")
    elif options.command == "register-device":
        key = await admin.register_device(options.tenant, options.device_id)
        say(f"key of {options.device_id} (tenant {options.tenant}), shown only now:\n{key}")
    return 0


async def _simulate(url: str, zones: int) -> int:
    from server.simulator import Simulator

    simulator = Simulator(url, zones=zones)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await simulator.run(stop)
    say(simulator.summary())
    return 0


def _run(command: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(command)


def _tenant(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise argparse.ArgumentTypeError(
            "1 to 64 of A-Z a-z 0-9 . _ -, not beginning with . _ or -"
        )
    return text


def _password(options: argparse.Namespace) -> str:
    if options.password_stdin:
        return sys.stdin.buffer.read(8192).decode().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise ValueError("no terminal to ask on: give --password-stdin")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise ValueError("the two passwords differ")
    return first


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"bas_server.py: {text}\n")
    return code
