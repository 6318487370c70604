"""Runs the server in this process: alone, as a supervisor of children, or as such a child."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from server.auth.password_rules import random_password
from server.auth.principal import DEFAULT_TENANT
from server.common.addresses import is_shared_address
from server.common.log_writer import LogWriter
from server.common.metrics import process_ended
from server.common.version import VERSION
from server.config.config import ServerConfig, child_environment
from server.config.open_doors import open_doors
from server.config.settings_text import settings_in_force
from server.container import Base, Container, OpenBase, OpenContainer
from server.http.serve import Drain, OnReady, listen, serve, stop_signal
from server.http.tls import ServerTls
from server.processes.certificate import own_tls, watched
from server.processes.only_server import OnlyServer
from server.processes.outside import Outside
from server.processes.pulse import ALIVE, Pulse
from server.services.firestore.store_watch import RETRY_S
from server.services.ports.documents import StoreUnavailable

log = logging.getLogger(__name__)

DEMO_ZONES = 4
# Connections for readings and pages, in addition to the streams.
SPARE_CONNECTIONS = 2000


async def serve_alone(
    config: ServerConfig, demo: bool, open_container: OpenContainer, log_writer: LogWriter
) -> int:
    """Run the whole server in this process until a stop signal; return the exit code."""
    _log_start(config)
    stop, demonstration, tls = stop_signal(), _Demo(demo, config), own_tls(config)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _renew, tls)
    with listen(config.host, config.port) as sock, OnlyServer(config):
        async with (
            open_container(config) as container,
            _first_admin(
                config.password_min_length, partial(_announce_first_admin, container.base)
            ),
            _pulse(container, log_writer) as pulse,
            Outside(config.heartbeat_url, pulse.alive, pulse.well) as outside,
            watched(tls, container.base.metrics),
        ):

            async def ready(port: int) -> None:
                _say_serving(config, port)
                outside.serving()
                demonstration.start(port)

            async def drain(timeout_s: float) -> None:
                outside.stopping()
                await asyncio.gather(container.sse.hub.drain(timeout_s), demonstration.stop())

            await _serve_container(container, sock, drain, ready, stop, tls)
    return 0


async def supervise(config: ServerConfig, demo: bool, open_base: OpenBase) -> int:
    """Run the server as `config.processes` children of this process; return the exit code."""
    # Imported here: only a server of several processes has these parts.
    from server.processes.child import ChildCommand
    from server.processes.supervisor import Supervisor

    _log_start(config)
    own_tls(config)  # its children read the files, which may be of no use
    stop, roll, demonstration = stop_signal(), asyncio.Event(), _Demo(demo, config)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, roll.set)

    with tempfile.TemporaryDirectory(prefix="bas-metrics-") as metrics, OnlyServer(config):
        command = ChildCommand(
            (sys.executable, sys.argv[0]),
            child_environment(metrics, config.data_dir),
            partial(process_ended, metrics),
        )
        with contextlib.closing(
            Supervisor(config.host, config.port, config.processes, command)
        ) as supervisor:

            async def announce(password: str, again: bool) -> None:
                async with open_base(config) as base:
                    await _announce_first_admin(base, password, again)

            async with (
                _first_admin(config.password_min_length, announce),
                Outside(config.heartbeat_url, lambda: True, supervisor.well) as outside,
            ):

                async def ready(port: int) -> None:
                    _say_serving(config, port)
                    outside.serving()
                    demonstration.start(port)

                async def end() -> None:
                    outside.stopping()
                    await demonstration.stop()

                return await supervisor.run(stop, roll, ready, end)


async def serve_as_child(
    config: ServerConfig,
    listening: int,
    channel: int,
    open_container: OpenContainer,
    log_writer: LogWriter,
) -> int:
    """Run a child of `supervise` on the socket and channel that it inherits; return the exit code.

    `listening` and `channel` are numbers of open files.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A process that replaces a dead one also serves with a certificate that has expired since.
    stop, tls = stop_signal(), own_tls(config, expired_too=True)
    reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=channel))

    pulse: Pulse | None = None

    async def follow_supervisor() -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(64):
                writer.write(pulse.answer() if pulse is not None else ALIVE)
        stop.set()

    async def ready(_: int) -> None:
        writer.write(b"\n")

    following = asyncio.create_task(follow_supervisor(), name="supervisor")
    try:
        with socket.socket(fileno=listening) as sock, OnlyServer(config):
            async with (
                open_container(config) as container,
                _pulse(container, log_writer) as pulse,
                watched(tls, container.base.metrics),
            ):
                drain = container.sse.hub.drain
                await _serve_container(container, sock, drain, ready, stop, tls, others_accept=True)
    finally:
        following.cancel()
        await asyncio.wait({following})
        writer.close()
        # The child has stopped as asked: no later signal may change its exit code.
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
    return 0


def _renew(tls: ServerTls | None) -> None:
    if tls is None:
        log.warning("SIGHUP is for several processes; to renew one, restart it")
    elif tls.renew():
        log.info("SIGHUP: new connections get the certificate that was read again")


def _log_start(config: ServerConfig) -> None:
    changed = settings_in_force(config) or "all settings have their defaults"
    log.info("version %s starts: %s", VERSION, changed)


def _pulse(container: Container, log_writer: LogWriter) -> Pulse:
    """The pulse of a process that counts the lines that its log drops, from now on."""
    log_writer.on_drop = container.base.metrics.log_lines_dropped.inc
    log_writer.on_drop(log_writer.dropped)
    return Pulse(container)


async def _serve_container(
    container: Container,
    sock: socket.socket,
    drain: Drain,
    ready: OnReady,
    stop: asyncio.Event,
    tls: ServerTls | None,
    *,
    others_accept: bool = False,
) -> None:
    config = container.base.config
    await serve(
        container.app,
        container.posts,
        sock,
        drain,
        ready,
        stop,
        max_connections=config.sse_max_streams + SPARE_CONNECTIONS,
        is_shared_address=partial(is_shared_address, networks=config.trusted_proxies),
        others_accept=others_accept,
        refused=container.base.metrics.connections_refused.inc,
        tls=tls,
    )


@contextlib.asynccontextmanager
async def _first_admin(
    min_length: int, announce: Callable[[str, bool], Awaitable[None]]
) -> AsyncIterator[None]:
    """Call `announce` once; while the store is away, retry within the block.

    Each retry has the same password, since an earlier one may have made the account although its
    answer was lost.
    """
    password = random_password(min_length)
    try:
        await announce(password, False)
    except StoreUnavailable as error:
        log.error(
            "the store is not available, so the first account cannot be looked up or made "
            "yet; retrying: %s",
            error.message,
        )
    else:
        yield
        return

    async def later() -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            with contextlib.suppress(StoreUnavailable):
                await announce(password, True)
                return

    task = asyncio.create_task(later(), name="first-admin")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _announce_first_admin(base: Base, password: str, again: bool) -> None:
    if await base.admin.first_admin(DEFAULT_TENANT, password, again=again) is not None:
        say(f"first start: created user admin with password {password}")


class _Demo:
    """Runs simulated zones that post to this server, if `wanted`."""

    def __init__(self, wanted: bool, config: ServerConfig) -> None:
        self._wanted = wanted
        self._config = config
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, port: int) -> None:
        if self._wanted:
            from server.simulator.fleet import Simulator

            # It posts to this same process or machine, by an address that no certificate names.
            simulator = Simulator(_own_url(self._config, port), zones=DEMO_ZONES, verify=False)
            self._tasks.append(asyncio.create_task(simulator.run(self._stop), name="demo"))

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


def _say_serving(config: ServerConfig, port: int) -> None:
    say(f"serving on {_own_url(config, port)}")
    for door in open_doors(config, port):
        log.warning("%s", door)


def _own_url(config: ServerConfig, port: int) -> str:
    """The URL by which this machine reaches the server that listens on `port`."""
    host, scheme = config.host, "https" if config.tls_on else "http"
    if host in {"0.0.0.0", "::"}:  # noqa: S104
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def say(text: str) -> None:
    """Write one line to standard output, and flush it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
