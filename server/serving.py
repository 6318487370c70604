"""What the server does as a process: all of it alone, or a supervisor's part, or a child's."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeAlias

from server.addresses import speaks_for_many
from server.auth.principal import DEFAULT_TENANT
from server.child import Command
from server.config.config import ServerConfig, child_environment
from server.metrics import process_ended
from server.serve import Drain, Ready, listen, serve, stop_signal
from server.services.firestore.base import StoreUnavailable
from server.services.firestore.store_watch import TRY_S
from server.supervisor import Supervisor

log = logging.getLogger(__name__)

DEMO_ZONES = 4
# For readings and pages, beside the streams.
SPARE_CONNECTIONS = 2000

# The composition root hands these in: this file knows no concrete store.
Opener: TypeAlias = Callable[[ServerConfig], AbstractAsyncContextManager[Any]]


async def serve_alone(config: ServerConfig, demo: bool, open_container: Opener) -> int:
    """The whole server in this process, until it is told to stop; the exit code."""
    stop, demonstration = stop_signal(), _Demo(demo)
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGHUP, log.warning, "SIGHUP is for several processes; to renew one, restart it"
    )
    with listen(config.host, config.port) as sock, _OnlyServer(config):
        async with (
            open_container(config) as container,
            _first_admin(partial(_tell_first_admin, container.base.admin)),
        ):

            async def ready(port: int) -> None:
                _say_serving(config.host, port)
                demonstration.start(config.host, port)

            async def drain(timeout_s: float) -> None:
                await asyncio.gather(container.sse.hub.drain(timeout_s), demonstration.stop())

            await _serve_container(container, sock, drain, ready, stop)
    return 0


async def supervise(config: ServerConfig, demo: bool, open_base: Opener) -> int:
    """The server as `config.processes` children of this process; the exit code."""
    stop, roll, demonstration = stop_signal(), asyncio.Event(), _Demo(demo)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, roll.set)

    async def ready(port: int) -> None:
        _say_serving(config.host, port)
        demonstration.start(config.host, port)

    with tempfile.TemporaryDirectory(prefix="bas-metrics-") as metrics, _OnlyServer(config):
        command = Command(
            (sys.executable, sys.argv[0]),
            child_environment(metrics),
            partial(process_ended, metrics),
        )
        with contextlib.closing(
            Supervisor(config.host, config.port, config.processes, command)
        ) as supervisor:

            async def tell(password: str, again: bool) -> None:
                async with open_base(config) as base:
                    await _tell_first_admin(base.admin, password, again)

            async with _first_admin(tell):
                return await supervisor.run(stop, roll, ready, demonstration.stop)


async def serve_as_child(
    config: ServerConfig, listening: int, channel: int, open_container: Opener
) -> int:
    """One child of `supervise`, on the socket and the channel it left open; the exit code."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop = stop_signal()
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=channel))

    async def follow_supervisor() -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        stop.set()

    async def ready(_: int) -> None:
        writer.write(b"\n")

    following = asyncio.create_task(follow_supervisor(), name="supervisor")
    try:
        with socket.socket(fileno=listening) as sock, _OnlyServer(config):
            async with open_container(config) as container:
                drain = container.sse.hub.drain
                await _serve_container(container, sock, drain, ready, stop, others_accept=True)
    finally:
        following.cancel()
        await asyncio.wait({following})
        writer.close()
        # It ends as it was told: no signal from now on is to change its exit code.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
    return 0


async def _serve_container(
    container: Any,
    sock: socket.socket,
    drain: Drain,
    ready: Ready,
    stop: asyncio.Event,
    *,
    others_accept: bool = False,
) -> None:
    config: ServerConfig = container.base.config
    await serve(
        container.app,
        container.posts,
        sock,
        drain,
        ready,
        stop,
        max_connections=config.sse_max_streams + SPARE_CONNECTIONS,
        speaks_for_many=partial(speaks_for_many, networks=config.trusted_proxies),
        others_accept=others_accept,
    )


@contextlib.asynccontextmanager
async def _first_admin(tell: Callable[[str, bool], Awaitable[None]]) -> AsyncIterator[None]:
    """Call `tell` once, and meanwhile again and again as long as the store is away: with the same
    password, since a try whose answer was lost may have made the account."""
    password = secrets.token_urlsafe(12)
    try:
        await tell(password, False)
    except StoreUnavailable as error:
        log.error("whether there is an account is not known yet: %s", error.message)
    else:
        yield
        return

    async def later() -> None:
        while True:
            await asyncio.sleep(TRY_S)
            with contextlib.suppress(StoreUnavailable):
                await tell(password, True)
                return

    task = asyncio.create_task(later(), name="first-admin")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _tell_first_admin(admin: Any, password: str, again: bool) -> None:
    if await admin.first_admin(DEFAULT_TENANT, password, again=again) is not None:
        say(f"first start: created user admin with password {password}")


class _Demo:
    """Simulated zones that post to this server, if they are wanted."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, host: str, port: int) -> None:
        if self._wanted:
            from server.simulator import Simulator

            simulator = Simulator(_own_url(host, port), zones=DEMO_ZONES)
            self._tasks.append(asyncio.create_task(simulator.run(self._stop), name="demo"))

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


def _say_serving(host: str, port: int) -> None:
    say(f"serving on {_own_url(host, port)}")


def _own_url(host: str, port: int) -> str:
    """How this machine itself reaches what listens there."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _OnlyServer:
    """Keeps a second server off the folder: their streams would miss each other's events.

    Servers that tell each other through Redis may share it, but with no other.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._path = config.data_dir / "server.lock"
        self._kind = fcntl.LOCK_SH if config.shared_redis_url else fcntl.LOCK_EX

    def __enter__(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = self._path.open("w")
        try:
            fcntl.flock(self._file, self._kind | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise OSError(
                f"another server already uses {self._path.parent}: "
                "stop it, or give this one another BAS_DATA_DIR"
            ) from None

    def __exit__(self, *_: object) -> None:
        self._file.close()


def say(text: str) -> None:
    """One line to standard output, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
