"""Puts reverse proxies between clients and the server, and prints a table of what they do.

Each runs twice: with the shortest configuration that passes requests on, and with the one that
docs/proxies.md shows. The table needs a minute for each, because it waits for heartbeats.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from http.cookies import SimpleCookie
from pathlib import Path

from scripts.matrix.stream_clients import free_port, table
from tools.process import REPOSITORY, ServerProcess

PAGE = REPOSITORY / "docs" / "proxies.md"
CLIENT = "127.0.0.9"  # another address than the proxy's
LIVE_S, IDLE_S, START_S = 20.0, 50.0, 15.0
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
# The command, and the shortest configuration.
COMMANDS: Mapping[str, Sequence[str]] = {
    "nginx": ("nginx", "-p", "FOLDER", "-c", "CONFIG", "-e", "FOLDER/log", "-g", "daemon off;"),
    "HAProxy": ("haproxy", "-db", "-f", "CONFIG"),
    "Caddy": ("caddy", "run", "--adapter", "caddyfile", "--config", "CONFIG"),
    "Apache": ("apache2", "-X", "-d", "FOLDER", "-f", "CONFIG"),
    "Varnish": ("varnishd", "-F", "-n", "FOLDER/work", "-a", "127.0.0.1:PORT", "-f", "CONFIG"),
    "lighttpd": ("lighttpd", "-D", "-f", "CONFIG"),
}
VERSION = {"Caddy": "version", "Varnish": "-V"}
MODULES = "".join(
    f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
    for name in ("mpm_event", "authz_core", "headers", "proxy", "proxy_http")
)
# Around the lines of the page: where the proxy listens and where its files are.
FRAMES: Mapping[str, str] = {
    "nginx": "events {}\npid FOLDER/pid;\nhttp {\naccess_log off;\n"
    "client_body_temp_path FOLDER/b;\nproxy_temp_path FOLDER/p;\n"
    "server {\nlisten 127.0.0.1:PORT;\nLINES\n}\n}\n",
    "HAProxy": "LINES\nfrontend in\n  bind 127.0.0.1:PORT\n  default_backend bas\n",
    "Caddy": "{\n  admin off\n  auto_https off\n}\nhttp://127.0.0.1:PORT {\nLINES\n}\n",
    "Apache": f"{MODULES}Listen 127.0.0.1:PORT\nServerName localhost\nPidFile FOLDER/pid\n"
    "ErrorLog FOLDER/log\nDefaultRuntimeDir FOLDER\nLINES\n",
    "Varnish": "vcl 4.1;\nLINES\n",
    "lighttpd": 'server.port = PORT\nserver.bind = "127.0.0.1"\nserver.document-root = "FOLDER"\n'
    'server.modules += ("mod_proxy")\nLINES\n',
}
SHORTEST: Mapping[str, str] = {
    "nginx": "location / { proxy_pass http://127.0.0.1:8080; }",
    "HAProxy": "defaults\n  mode http\n  timeout connect 5s\n  timeout client 50s\n"
    "  timeout server 50s\nbackend bas\n  server one 127.0.0.1:8080",
    "Caddy": "reverse_proxy 127.0.0.1:8080",
    "Apache": "ProxyPass / http://127.0.0.1:8080/",
    "Varnish": 'backend default { .host = "127.0.0.1"; .port = "8080"; }',
    "lighttpd": 'proxy.server = ("" => (("host" => "127.0.0.1", "port" => 8080)))',
}


def documented(name: str) -> str:
    """The lines for this proxy on the page."""
    found = re.search(rf"## {name}\n.*?```\w*\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found, name
    return found[1]


@contextlib.contextmanager
def running(name: str, lines: str, server_port: int) -> Iterator[int]:
    """The proxy with these lines; yields its port."""
    folder, port = Path(tempfile.mkdtemp()), free_port()
    folder.chmod(0o755)
    config = folder / "config"

    def filled(text: str) -> str:
        text = text.replace("FOLDER", str(folder)).replace("CONFIG", str(config))
        return text.replace("PORT", str(port))

    own = lines.replace("8080", str(server_port))
    config.write_text(filled(FRAMES[name]).replace("LINES", own))
    program, *arguments = COMMANDS[name]
    process = subprocess.Popen(
        [shutil.which(program, path=PATH) or program, *map(filled, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr").open("w"),
        env={**os.environ, "HOME": str(folder)},
    )
    try:
        _wait(port, folder)
        yield port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait(port: int, folder: Path) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        with contextlib.suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError((folder / "stderr").read_text()[-500:])


def call(port: int, path: str, body: object, **headers: str) -> tuple[int, bytes]:
    """Status and body of a POST of JSON from CLIENT."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=30, source_address=(CLIENT, 0)
    )
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, data, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def log_in(server: ServerProcess) -> str:
    """A session of the server's first admin."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    body = json.dumps({"username": "admin", "password": server.password})
    connection.request("POST", "/auth/login", body, {"Content-Type": "application/json"})
    cookies = SimpleCookie(connection.getresponse().getheader("Set-Cookie"))
    connection.close()
    return cookies["bas_session_id"].value


class Stream:
    """An open stream through the proxy, read as it comes."""

    def __init__(self, port: int, session: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        head = (
            f"GET /api/sse/telemetry HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Session-ID: {session}\r\n\r\n"
        )
        self._socket.sendall(head.encode())
        self.text = b""

    def until(self, text: bytes, seconds: float) -> float | None:
        """The seconds until this text comes; None if it does not, or the stream ends."""
        began = time.monotonic()
        while text not in self.text:
            left = began + seconds - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                piece = self._socket.recv(65536)
            except TimeoutError:
                return None
            if not piece:
                return None
            self.text += piece
        return time.monotonic() - began

    def close(self) -> None:
        self._socket.close()


def live(port: int, server: ServerProcess, session: str) -> list[str]:
    """Whether events come at once, and heartbeats keep the silent stream open."""
    stream = Stream(port, session)
    try:
        stream.until(b"event: snapshot", LIVE_S)
        reading = {"temp_tenths": 777, "sensor_ok": True}
        for _ in range(10):  # a reading that is not stored, on a slow disk, is no event
            if b'"stored"' not in call(server.port, "/api/sensor_data", reading)[1]:
                break
            print("not stored", file=sys.stderr)
            time.sleep(1)
        took = stream.until(b'"temp_tenths":777', LIVE_S)
        beats = 0
        ends = time.monotonic() + IDLE_S
        while time.monotonic() < ends:
            stream.text = b""
            if stream.until(b"event: heartbeat", ends - time.monotonic()) is None:
                break
            beats += 1
        call(server.port, "/api/sensor_data", {"temp_tenths": 778, "sensor_ok": True})
        after = stream.until(b'"temp_tenths":778', LIVE_S)
    finally:
        stream.close()
    shown = "no: held" if took is None else f"yes, {took:.1f} s"
    return [shown, f"{beats} in {IDLE_S:.0f} s" if after is not None else "no: ends or held"]


def firmware(port: int) -> str:
    """Whether the firmware in the field obeys the answer."""
    body = b'{"temp_tenths": 235, "sensor_ok": true, "timestamp": 123456}'
    head = (
        f"POST /api/sensor_data HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Content-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(head.encode() + body)
        answer = b""
        while piece := sock.recv(1024):
            answer += piece
    lower = answer.split(b"\r\n\r\n")[0].lower()
    if b"200 OK" not in answer:
        return f"no: {answer[:40]!r}"
    if b"content-length:" not in lower or b"transfer-encoding" in lower:
        return "no: without a length"
    return "yes"


def upload(port: int) -> str:
    """Whether large batches pass, plain and compressed."""
    rows = [
        {
            "device_id": "load",
            "temp_tenths": 235,
            "sensor_ok": True,
            "seq": number,
            "pad": "x" * 150,
        }
        for number in range(1000)
    ]
    data = json.dumps(rows).encode()
    plain = call(port, "/api/sensor_data/batch", data)[0]
    packed = call(
        port, "/api/sensor_data/batch", gzip.compress(data), **{"Content-Encoding": "gzip"}
    )[0]
    return "yes" if (plain, packed) == (200, 200) else f"no: {plain}, {packed}"


def address(port: int, server: ServerProcess, session: str) -> str:
    """Whether the audit log has the client's address."""
    call(port, "/auth/login", {"username": "nobody", "password": "wrong"})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    seen = ""
    for _ in range(50):  # a refusal is stored a moment later
        connection.request("GET", "/api/audit/recent?limit=1", headers={"X-Session-ID": session})
        entries = json.loads(connection.getresponse().read())
        seen = entries[0]["address"] if entries else ""
        if entries and entries[0]["action"] == "LOGIN_FAILURE" and seen == CLIENT:
            return "yes"
        time.sleep(0.1)
    return f"no: {seen}"


def row(name: str, which: str, lines: str, data: Path) -> list[str]:
    """All answers of one configuration."""
    with ServerProcess(data, BAS_TRUSTED_PROXIES="127.0.0.1") as server:
        session = log_in(server)
        try:
            with running(name, lines, server.port) as port:
                found = [
                    firmware(port),
                    upload(port),
                    address(port, server, session),
                    *live(port, server, session),
                ]
        except RuntimeError as error:
            found = [f"does not start: {error}"]
    return [version(name), which, *found]


def version(name: str) -> str:
    """The proxy's name and version."""
    program = shutil.which(COMMANDS[name][0], path=PATH)
    assert program
    done = subprocess.run(
        [program, VERSION.get(name, "-v")], capture_output=True, text=True, check=False
    )
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return f"{name} {found[0] if found else '?'}"


def main(names: Sequence[str]) -> None:
    """Print the table."""
    head = (
        "proxy",
        "configuration",
        "device: 200 OK",
        "upload",
        "client address",
        "live",
        "heartbeats",
    )
    rows = []
    for name in names or COMMANDS:
        if shutil.which(COMMANDS[name][0], path=PATH) is None:
            print(f"{name} is not installed", file=sys.stderr)
            continue
        for which, lines in (("shortest", SHORTEST[name]), ("this page's", documented(name))):
            with tempfile.TemporaryDirectory() as data:
                rows.append(row(name, which, lines, Path(data)))
            print(rows[-1], file=sys.stderr, flush=True)
    print(table(head, rows))


if __name__ == "__main__":
    main(sys.argv[1:])
