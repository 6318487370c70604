"""The command line of bas_server.py: serve, simulate, and administration."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import getpass
import logging
import re
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import uvloop

from server.addresses import speaks_for_many
from server.auth.principal import DEFAULT_TENANT
from server.config.config import ConfigError, ServerConfig, settings_help
from server.errors import BasError
from server.serve import listen, serve
from server.services.firestore.models import ROLES
from server.version import VERSION

log = logging.getLogger(__name__)

DEMO_ZONES = 4
# For readings and pages, beside the streams.
SPARE_CONNECTIONS = 2000
USAGE_ERROR, FAILURE = 2, 1

# The composition root hands these in: this file knows no concrete store.
Opener: TypeAlias = Callable[[ServerConfig], AbstractAsyncContextManager[Any]]


def main(arguments: list[str], open_base: Opener, open_container: Opener) -> int:
    """Run one command; its exit code."""
    options = _parser().parse_args(arguments)
    try:
        config = ServerConfig.from_env()
    except ConfigError as error:
        return _fail(f"{error}", USAGE_ERROR)
    logging.basicConfig(
        level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        return _run(_command(options, config, open_base, open_container))
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
    return parser


async def _command(
    options: argparse.Namespace, config: ServerConfig, open_base: Opener, open_container: Opener
) -> int:
    if options.command is None:
        return await _serve(config, options.demo, open_container)
    if options.command == "simulate":
        return await _simulate(options.url, options.zones)
    async with open_base(config) as base:
        return await _administer(options, base.admin)


async def _administer(options: argparse.Namespace, admin: Any) -> int:
    if options.command == "create-user":
        password = _password(options)
        await admin.create_user(options.name, password, options.role, options.tenant)
        _say(f"created {options.name} ({options.role}, tenant {options.tenant})")
    elif options.command == "set-password":
        ended = await admin.set_password(options.name, _password(options))
        _say(f"password of {options.name} set; {ended} sessions ended")
    elif options.command == "list-users":
        for user in await admin.list_users():
            _say(f"{user.username}\t{user.role}\t{user.tenant_id}")
    elif options.command == "register-device":
        key = await admin.register_device(options.tenant, options.device_id)
        _say(f"key of {options.device_id} (tenant {options.tenant}), shown only now:\n{key}")
    return 0


async def _serve(config: ServerConfig, demo: bool, open_container: Opener) -> int:
    host = _own_host(config.host)
    with listen(config.host, config.port) as sock, _OnlyServer(config.data_dir):
        async with open_container(config) as container:
            password = await container.base.admin.first_admin(DEFAULT_TENANT)
            if password is not None:
                _say(f"first start: created user admin with password {password}")
            stop_demo = asyncio.Event()
            demos: list[asyncio.Task[None]] = []

            async def ready(port: int) -> None:
                _say(f"serving on http://{host}:{port}")
                if demo:
                    from server.simulator import Simulator

                    simulator = Simulator(f"http://{host}:{port}", zones=DEMO_ZONES)
                    demos.append(asyncio.create_task(simulator.run(stop_demo), name="demo"))

            async def drain(timeout_s: float) -> None:
                stop_demo.set()
                await container.sse.hub.drain(timeout_s)
                await asyncio.gather(*demos)

            await serve(
                container.app,
                sock,
                drain,
                ready,
                max_connections=config.sse_max_streams + SPARE_CONNECTIONS,
                speaks_for_many=partial(speaks_for_many, networks=config.trusted_proxies),
            )
    return 0


def _own_host(host: str) -> str:
    """How this machine itself reaches what listens on `host`."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


async def _simulate(url: str, zones: int) -> int:
    from server.simulator import Simulator

    simulator = Simulator(url, zones=zones)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await simulator.run(stop)
    _say(simulator.summary())
    return 0


def _run(command: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(command)


class _OnlyServer:
    """Keeps a second server off the folder: their streams would miss each other's events."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "server.lock"

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = self._path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise OSError(
                f"another server already uses {self._path.parent}: "
                "stop it, or give this one another BAS_DATA_DIR"
            ) from None

    def __exit__(self, *_: object) -> None:
        self._file.close()


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


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"bas_server.py: {text}\n")
    return code
