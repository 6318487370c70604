"""A real Redis of one's own: on a free port, without persistence, gone with its user."""

from __future__ import annotations

import os
import shutil
import socket

from tools.daemon import Daemon

# A drill runs the tests with other versions, and with Valkey.
EXECUTABLE = os.environ.get("BAS_TEST_REDIS_SERVER") or shutil.which("redis-server")


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
