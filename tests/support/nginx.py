"""A real nginx with infra/nginx.conf in front of two ports, and HTTP/2 clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType

import httpx
import pytest

from tests.support.stream import WAIT_S, Frame, FrameSplitter
from tools.daemon import free_port
from tools.nginx import EXECUTABLE
from tools.process import REPOSITORY

CONFIG = REPOSITORY / "infra" / "nginx.conf"
START_S = 60.0
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def need_nginx() -> None:
    """Skip the test where nginx is not installed; fail where that must not happen."""
    if EXECUTABLE is None:
        reason = "nginx is not installed: infra/nginx.conf is NOT tested"
        if os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail(reason)
        pytest.skip(reason)


def _replaced(text: str, old: str, new: str) -> str:
    """`text` with `old` replaced; AssertionError if the configuration no longer contains it."""
    replaced, count = re.subn(old, new, text)
    assert count, f"infra/nginx.conf has no {old}"
    return replaced


class Nginx:
    """`nginx` with the repository's configuration; only the ports and the paths are changed.

    `settings` maps further regular expressions to their replacements.
    """

    def __init__(self, *upstream_ports: int, settings: dict[str, str] | None = None) -> None:
        assert len(upstream_ports) == 2
        self.http_port, self.https_port = free_port(), free_port()
        # Not in pytest's folder: nginx's workers run as a user that cannot enter it.
        self.folder = Path(tempfile.mkdtemp(prefix="bas-nginx-"))
        self.certificate = self.folder / "certificate.pem"
        self._key = self.folder / "key.pem"
        self._config = self.folder / "nginx.conf"
        self._config.write_text(self._text(upstream_ports, settings or {}))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.https_port}"

    def _text(self, upstream_ports: tuple[int, ...], settings: dict[str, str]) -> str:
        text = CONFIG.read_text()
        for old, port in zip((8081, 8082), upstream_ports, strict=True):
            text = _replaced(text, rf"server 127\.0\.0\.1:{old} ", f"server 127.0.0.1:{port} ")
        for old, port in ((80, self.http_port), (443, self.https_port)):
            text = _replaced(text, rf"listen {old}\b", f"listen 127.0.0.1:{port}")
            ours = f"listen [::1]:{port}" if _has_ipv6() else r"# \g<0>"
            text = _replaced(text, rf"listen \[::\]:{old}\b", ours)
        text = _replaced(text, r"/run/nginx\.pid", str(self.folder / "pid"))
        text = _replaced(text, r"/var/log/nginx", str(self.folder))
        text = _replaced(text, r"/etc/ssl/bas/fullchain\.pem", str(self.certificate))
        text = _replaced(text, r"/etc/ssl/bas/privkey\.pem", str(self._key))
        for pattern, new in settings.items():
            text = _replaced(text, pattern, new)
        folders = "".join(f"    {t}_temp_path {self.folder / t};\n" for t in TEMPORARY)
        return text.replace("http {\n", "http {\n" + folders)

    def start(self) -> Nginx:
        """Start nginx and wait until it accepts connections."""
        self.folder.chmod(0o755)
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        request += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        request += ["-keyout", str(self._key), "-out", str(self.certificate)]
        subprocess.run(request, check=True, capture_output=True, timeout=60)
        assert EXECUTABLE is not None
        self._process = subprocess.Popen(
            [EXECUTABLE, "-p", str(self.folder), "-c", str(self._config), "-g", "daemon off;"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + START_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise AssertionError(self._process.communicate()[1].decode())
            time.sleep(0.01)
        return self

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.https_port), timeout=1).close()
        except OSError:
            return False
        return True

    def log(self) -> str:
        """The content of its error log."""
        return (self.folder / "error.log").read_text()

    def __enter__(self) -> Nginx:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.communicate(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def tls(nginx: Nginx) -> ssl.SSLContext:
    """A TLS context that trusts this nginx's certificate."""
    return ssl.create_default_context(cafile=nginx.certificate)


def browser(nginx: Nginx, address: str = "127.0.0.1", **headers: str) -> httpx.Client:
    """An HTTP/2 client that connects from this address."""
    transport = httpx.HTTPTransport(http2=True, verify=tls(nginx), local_address=address)
    return httpx.Client(base_url=nginx.url, transport=transport, headers=headers, timeout=WAIT_S)


class Stream:
    """A live stream over HTTP/2."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._pieces = response.aiter_raw()
        self._splitter = FrameSplitter()
        self._frames: deque[Frame] = deque()

    async def until(self, *names: str) -> Frame:
        """The next event with one of these names."""
        async with asyncio.timeout(WAIT_S):
            while True:
                while self._frames:
                    frame = self._frames.popleft()
                    if frame.event in names:
                        return frame
                self._frames += self._splitter.feed(await anext(self._pieces))


@contextlib.asynccontextmanager
async def stream(nginx: Nginx) -> AsyncIterator[Stream]:
    """Open a stream and wait for its snapshot."""
    async with (
        httpx.AsyncClient(
            base_url=nginx.url, http2=True, verify=tls(nginx), timeout=WAIT_S, trust_env=False
        ) as client,
        client.stream("GET", "/api/sse/telemetry") as response,
    ):
        assert response.http_version == "HTTP/2"
        opened = Stream(response)
        await opened.until("snapshot")
        yield opened
