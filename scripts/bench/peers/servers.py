"""The servers that are compared: how each is started, asked for a stream, and given an event."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.bench import host
from scripts.bench.peers import installed
from scripts.bench.peers.watched import Watched, started
from tools import wire
from tools.daemon import free_port
from tools.firestore_emulator import SWITCHES, fresh_project
from tools.redis_server import RedisServer

APPS = Path(__file__).parent / "apps"
NGINX_CONFIG = Path(__file__).parent / "nchan.conf"
INFLUX_CONFIG = Path(__file__).parent / "influxdb.conf"
HISTORY = 20_000


@dataclass(frozen=True)
class Running:
    """A server that listens: `stream` is the request that opens one (with a Last-Event-ID or
    without), `event` the request that posts one, by its stamp and its producer's number."""

    port: int
    processes: Watched
    stream: Callable[[bytes], bytes]
    event: Callable[[int, int], bytes]


@dataclass(frozen=True)
class Peer:
    """A server to compare. `start` raises Missing, `version` may. `speaks_first`: a stream's head
    comes before its first event. `resumes`: after a Last-Event-ID it sends what was missed."""

    name: str
    start: Callable[[Path], AbstractContextManager[Running]]
    version: Callable[[], str]
    speaks_first: bool = True
    resumes: bool = False


def get(path: str, **headers: str) -> Callable[[bytes], bytes]:
    """The request of a stream."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", f"User-Agent: {wire.AGENT}"]
    lines.append("Accept: text/event-stream")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines).encode()

    def request(last_id: bytes) -> bytes:
        return head + (b"\r\nLast-Event-ID: " + last_id if last_id else b"") + b"\r\n\r\n"

    return request


def post(
    path: str, body: Callable[[int, int], bytes], **headers: str
) -> Callable[[int, int], bytes]:
    """The request of an event."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "".join(f"{line}\r\n" for line in lines).encode()

    def request(stamp: int, producer: int) -> bytes:
        content = body(stamp, producer)
        return head + b"Content-Length: %d\r\n\r\n" % len(content) + content

    return request


def reading(stamp: int, producer: int) -> bytes:
    """What a device posts. Each producer is a device of its own."""
    return wire.reading(f"zone-{producer}", 200 + stamp % 50, stamp)


def telemetry(stamp: int, producer: int) -> bytes:
    """The data of the event that this server makes of the reading."""
    data = {
        "timestamp": stamp,
        "temp_tenths": 200 + stamp % 50,
        "setpoint_tenths": 230,
        "deadband_tenths": 10,
        "cool_active": False,
        "heat_active": True,
        "state": "IDLE_WITH_LEDS",
        "sensor_ok": True,
        "device_id": f"zone-{producer}",
    }
    return json.dumps(data, separators=(",", ":")).encode()


@contextmanager
def this_server(folder: Path, *, by_token: bool = False, **settings: str) -> Iterator[Running]:
    """This server as one process on SQLite, unless `settings` say otherwise.

    Streams are a user's, and devices have no key; all are a token's with `by_token`.

    One address may hold a quarter of the connections: this makes room for 10,000 from here.
    """
    limits = ("BAS_SSE_MAX_STREAMS", "BAS_SSE_STREAMS_PER_TENANT", "BAS_SSE_STREAMS_PER_ACCOUNT")
    with host.server(folder, **dict.fromkeys(limits, "40000"), **settings) as process:
        assert process.password is not None, process.output
        session = asyncio.run(wire.log_in(process.port, process.password))
        stream = get("/api/sse/telemetry", X_Session_ID=session)
        event = post("/api/sensor_data", reading)
        if by_token:
            bearer = f"Bearer {asyncio.run(wire.new_token(process.port, session))}"
            stream = get("/api/sse/telemetry", Authorization=bearer)
            event = post("/api/sensor_data", reading, Authorization=bearer)
        yield Running(process.port, Watched([process.pid]), stream, event)


@contextmanager
def _on_firestore(folder: Path) -> Iterator[Running]:
    with ExitStack() as stack:
        # The emulator takes what server and load leave of both cores; it is not counted.
        with host.anywhere():
            emulator = stack.enter_context(installed.firestore_emulator())
        settings = {"USE_EMULATORS": "1", "FIRESTORE_EMULATOR_HOST": emulator.host}
        settings |= {f"USE_FIRESTORE_{switch.upper()}": "1" for switch in SWITCHES}
        settings["GOOGLE_CLOUD_PROJECT"] = fresh_project()
        yield stack.enter_context(this_server(folder, by_token=False, **settings))


def _floor(*pause_s: str) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(_: Path) -> Iterator[Running]:
        port = free_port()
        command = [sys.executable, str(APPS / "floor.py"), str(port), *pause_s]
        with started(command, port) as pid:
            yield Running(port, Watched([pid]), get("/stream"), post("/publish", telemetry))

    return start


@contextmanager
def _nchan(folder: Path) -> Iterator[Running]:
    port, module = free_port(), installed.nchan_module()
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = NGINX_CONFIG.read_text()
    known = {"module": module, "folder": folder, "port": port, "files": files, "history": HISTORY}
    for name, value in known.items():
        text = text.replace(f"@{name}@", str(value))
    config = folder / "nginx.conf"
    config.write_text(text)
    # The worker runs as nobody, and keeps its temporary files here.
    folder.chmod(0o755)
    command = [installed.nginx(), "-c", str(config), "-p", str(folder), "-e", f"{folder}/error.log"]
    with started(command, port) as pid:
        yield Running(port, Watched([pid]), get("/stream"), post("/publish", telemetry))


@contextmanager
def _sse_starlette(_: Path) -> Iterator[Running]:
    port = free_port()
    command = [installed.bench_python(), "-m", "uvicorn", "--app-dir", str(APPS), "--port"]
    command += [str(port), "--loop", "uvloop", "--http", "httptools", "--backlog", "4096"]
    command += ["--log-level", "warning", "--no-access-log", "starlette_app:app"]
    with started(command, port) as pid:
        yield Running(port, Watched([pid]), get("/stream"), post("/publish", telemetry))


@contextmanager
def _flask_sse(_: Path) -> Iterator[Running]:
    port, python = free_port(), installed.bench_python()
    installed.redis()
    with ExitStack() as stack:
        with host.on_core(host.SERVER_CORE):
            redis = stack.enter_context(RedisServer("--maxclients", "12000"))
        command = [python, "-m", "gunicorn", "--chdir", str(APPS), "--worker-class", "gevent"]
        command += ["--worker-connections", "12000", "--backlog", "4096", "--workers", "1"]
        command += ["--log-level", "warning", "--bind", f"127.0.0.1:{port}", "flask_sse_app:app"]
        pid = stack.enter_context(started(command, port, REDIS_URL=redis.url))
        processes = Watched([pid, redis.pid])
        yield Running(port, processes, get("/stream"), post("/publish", telemetry))


def _flask_sqlite(version: str) -> Callable[[Path], AbstractContextManager[Running]]:
    @contextmanager
    def start(folder: Path) -> Iterator[Running]:
        port, file = free_port(), str(folder / "telemetry.db")
        program = str(APPS / "flask_sqlite_app.py")
        command = [installed.bench_python(), program, str(port), file, version]
        with started(command, port) as pid:
            event = post("/api/sensor_data", reading)
            yield Running(port, Watched([pid]), get("/stream"), event)

    return start


@contextmanager
def _victoria(folder: Path) -> Iterator[Running]:
    port = free_port()
    command = [installed.program(VICTORIA, VICTORIA), f"-storageDataPath={folder}"]
    command += [f"-httpListenAddr=127.0.0.1:{port}", "-retentionPeriod=100y"]
    # The answers themselves are measured, and not how they are kept for the next question.
    command += ["-search.disableCache", "-search.latencyOffset=0s"]
    with started(command, port) as pid:
        yield Running(port, Watched([pid]), get("/"), post("/", reading))


@contextmanager
def _influx(folder: Path) -> Iterator[Running]:
    port, program = free_port(), installed.program("influxd", "influxdb")
    text = INFLUX_CONFIG.read_text().replace("@folder@", str(folder))
    text = text.replace("@port@", str(port)).replace("@own@", str(free_port()))
    config = folder / "influxdb.conf"
    config.write_text(text)
    with started([program, "-config", str(config)], port) as pid:
        yield Running(port, Watched([pid]), get("/"), post("/", reading))


def _commit() -> str:
    return "commit " + installed.version(["git", "rev-parse", "--short", "HEAD"], r"(\w+)")


def _nginx_version() -> str:
    installed.nchan_module()
    nginx = installed.version([installed.nginx(), "-v"], r"nginx/(\S+)")
    return f"nginx {nginx}, nchan {_package('libnginx-mod-nchan')}"


def _package(name: str) -> str:
    query = ["dpkg-query", "-W", "-f", "${Version}", name]
    return installed.version(query, r"(.+)") or "of unknown version"


def _redis_version() -> str:
    return "Redis " + installed.version([installed.redis(), "--version"], r"v=(\S+)")


def _of(*names: str) -> Callable[[], str]:
    return lambda: ", ".join(f"{name} {installed.packages()[name.lower()]}" for name in names)


THIS, FLOOR, NCHAN, STARLETTE, FLASK_SSE = "bas", "floor", "nchan", "sse-starlette", "flask-sse"
THIS_FIRESTORE, FLOOR_BATCHED = "bas-firestore", "floor-batched"
FLASK, FLASK_KEPT = "flask-sqlite", "flask-sqlite-kept"
VICTORIA, INFLUX = "victoria-metrics", "influxdb"
_FLASK_SSE_OF = _of("Flask-SSE", "Flask", "gunicorn", "gevent", "redis")
_FLASK_OF = _of("Flask", "Werkzeug")
_STARLETTE_OF = _of("sse-starlette", "starlette", "uvicorn", "httptools", "uvloop")

PEERS = {
    peer.name: peer
    for peer in (
        Peer(THIS, this_server, _commit, resumes=True),
        Peer(THIS_FIRESTORE, _on_firestore, _commit),
        Peer(FLOOR, _floor(), lambda: "asyncio protocol on uvloop"),
        Peer(FLOOR_BATCHED, _floor("0.02"), lambda: "the same, one write in 20 ms"),
        Peer(NCHAN, _nchan, _nginx_version, resumes=True),
        Peer(STARLETTE, _sse_starlette, _STARLETTE_OF),
        Peer(
            FLASK_SSE,
            _flask_sse,
            lambda: f"{_FLASK_SSE_OF()}, {_redis_version()}",
            speaks_first=False,
        ),
        Peer(FLASK, _flask_sqlite("1.0"), _FLASK_OF),
        Peer(FLASK_KEPT, _flask_sqlite("1.1"), _FLASK_OF),
        Peer(VICTORIA, _victoria, lambda: _package(VICTORIA)),
        Peer(INFLUX, _influx, lambda: _package(INFLUX)),
    )
}
