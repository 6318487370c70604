"""A real Redis of a test's own: on a free port, without persistence, gone with the test."""

from __future__ import annotations

import os
import shutil
import socket

import pytest

from tests.support.daemon import Daemon

EXECUTABLE = shutil.which("redis-server")


def need_redis() -> None:
    """Skip the test where Redis is not installed; fail where that must not happen."""
    if EXECUTABLE is None:
        if os.environ.get("CI") or os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail("redis-server is not installed: scripts/setup_emulators.sh start brings it")
        pytest.skip("redis-server is not installed: the tests with a real Redis do not run")


class RedisServer(Daemon):
    """`redis-server`, with nothing on disk unless its options say otherwise."""

    def __init__(self, *options: str) -> None:
        super().__init__("redis")
        self._options = options

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        assert EXECUTABLE is not None
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder]
        options += ["--save", "", "--appendonly", "no", "--loglevel", "warning", *self._options]
        return [EXECUTABLE, *options]

    def _answers(self) -> bool:
        try:
            return self.command("PING") == "+PONG"
        except OSError:
            return False

    def command(self, *words: str) -> str:
        """The first line of Redis' answer to one command."""
        request = f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as sock:
            sock.sendall(request.encode())
            return sock.makefile("rb").readline().decode().strip()
