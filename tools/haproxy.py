"""A real HAProxy of one's own, with a configuration of infra/ and addresses of this machine."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.daemon import Daemon

EXECUTABLE = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class HAProxy(Daemon):
    """`haproxy` with the text of `config`; each key of `instead` must occur and is replaced."""

    def __init__(self, config: Path, instead: Mapping[str, str], port: int) -> None:
        super().__init__("haproxy")
        self.port = port
        text = config.read_text(encoding="utf-8")
        for theirs, ours in instead.items():
            assert theirs in text, theirs
            text = text.replace(theirs, ours)
        self._config = Path(self._folder) / "haproxy.cfg"
        self._config.write_text(text)

    def _command(self) -> Sequence[str]:
        assert EXECUTABLE is not None
        return [EXECUTABLE, "-db", "-f", str(self._config)]

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
