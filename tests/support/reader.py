"""A reader of the docs: types their commands as they are, into a shell of the test's own."""

from __future__ import annotations

import getpass
import grp
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import pytest

from tools.process import REPOSITORY, ServerProcess, clean_environment

P = TypeVar("P", str, bytes)
TIMEOUT_S = 60.0
# For tools that a test machine lacks, or that would change it. What is typed stays as it is.
STAND_INS = {
    # The test's own user may do everything in the test's own folders.
    "sudo": 'if [ "$1" = -u ]; then shift 2; fi\nexec "$@"',
    # The journal of the unit `bas` is what the server printed.
    "journalctl": 'cat "$JOURNAL"',
    # scripts/install.sh links it; tests/integration/test_packages.py runs the real one.
    "bas": f'exec "{REPOSITORY}/scripts/run.sh" "$@"',
    "python": f'exec "{sys.executable}" "$@"',
}


class Screen:
    """What a command that goes on shows, line by line."""

    def __init__(self, output: IO[str]) -> None:
        self._output = output

    def until(self, text: str) -> str:
        """The lines up to the next one that has this text. AssertionError if the command ends."""
        shown = ""
        for line in self._output:
            shown += line
            if text in line:
                return shown
        raise AssertionError(f"it ended without {text!r}: {shown}")


@contextmanager
def bounded(process: subprocess.Popen[P]) -> Iterator[subprocess.Popen[P]]:
    """The process, killed at the end and after TIMEOUT_S at the latest, so that no read hangs."""
    watchdog = threading.Timer(TIMEOUT_S, process.kill)
    watchdog.start()
    with process:
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


class Reader:
    """A machine as the docs describe it, below one folder: checkout, data, certificates.

    Only the port and the paths of a command are replaced. A reader who changes the code works on
    a copy.
    """

    def __init__(self, folder: Path, *, changes_code: bool = False) -> None:
        self.checkout, self.data = folder / "checkout", folder / "data"
        self.journal = folder / "journal"
        self.port = 8080
        self._folder, self._tools = folder, folder / "tools"
        for made in (self.checkout, self._tools, folder / "usb", folder / "nginx"):
            made.mkdir()
        (self.checkout / "data").symlink_to(self.data)
        for name in (".venv", "bas_server.py", "docs", "infra", "scripts", "server"):
            (self.checkout / name).symlink_to(REPOSITORY / name)
        if changes_code:
            self._copy()
        for name, script in STAND_INS.items():
            (self._tools / name).write_text(f"#!/bin/sh\n{script}\n")
            (self._tools / name).chmod(0o755)

    def _copy(self) -> None:
        for name in ("bas_server.py", "scripts", "server"):
            own = self.checkout / name
            own.unlink()
            if (REPOSITORY / name).is_dir():
                shutil.copytree(REPOSITORY / name, own)
            else:
                shutil.copy2(REPOSITORY / name, own)
        shutil.copy2(REPOSITORY / "requirements.txt", self.checkout)

    def typed(self, command: str) -> str:
        """The command, on this machine."""
        own = {
            r"\b8080\b": str(self.port),
            r"/var/lib/bas\b": str(self.data),
            r"/opt/bas\b": str(self.checkout),
            r"/srv/old\b": str(self._folder / "old"),
            r"/media/usb\b": str(self._folder / "usb"),
            r"/etc/nginx\b": str(self._folder / "nginx"),
            r"/etc/(ssl/bas|redis)\b": str(self._folder / "certificates"),
            r"-o bas -g bas\b": f"-o {getpass.getuser()} -g {grp.getgrgid(os.getgid()).gr_name}",
        }
        for theirs, ours in own.items():
            command = re.sub(theirs, ours, command)
        return command

    def environment(self, **settings: str) -> dict[str, str]:
        found = clean_environment(JOURNAL=str(self.journal), BAS_DATA_DIR=str(self.data))
        return found | {"PATH": f"{self._tools}:{os.environ['PATH']}"} | settings

    def _shell(self, command: str) -> list[str]:
        script = "\n".join(["set -o pipefail", self.typed(command)])
        return ["bash", "--norc", "-c", script]

    def types(self, command: str, **settings: str) -> str:
        """Run it to its end; what it printed. AssertionError unless it ended with 0."""
        done = subprocess.run(
            self._shell(command),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
            cwd=self.checkout,
            env=self.environment(**settings),
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def watches(self, command: str) -> Iterator[Screen]:
        """Run a command that goes on until it is ended."""
        process = subprocess.Popen(
            self._shell(f"exec {command}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=self.checkout,
            env=self.environment(),
        )
        with bounded(process):
            assert process.stdout is not None
            yield Screen(process.stdout)

    def answers(self, command: str, *lines: str) -> str:
        """Run it on a terminal and type a line whenever it asks for one; what it showed."""
        leader, terminal = pty.openpty()
        process = subprocess.Popen(
            self._shell(command),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            cwd=self.checkout,
            env=self.environment(),
        )
        os.close(terminal)
        shown, waiting = "", list(lines)
        with bounded(process), open(leader, "r+b", buffering=0) as screen:
            while piece := _read(screen.fileno()):
                shown += piece
                if waiting and shown.endswith(": "):
                    screen.write(waiting.pop(0).encode() + b"\n")
                    shown += "\n"
            assert process.wait() == 0, shown
        assert not waiting, shown
        return shown

    def server(self, command: str, **settings: str) -> ServerProcess:
        """The server that this command starts, on a port of the test's own."""
        own = {"BAS_HOST": "127.0.0.1", "BAS_PORT": "0"}
        return ServerProcess(
            self.data,
            python="bash",
            program=("-c", self.typed(command)),
            folder=self.checkout,
            **(own | settings),
        )


def _read(screen: int) -> str:
    """What the terminal shows next; nothing once every process has closed it."""
    try:
        return os.read(screen, 1000).decode()
    except OSError:
        return ""


def need_environment() -> None:
    """Skip the test where scripts/run.sh would install packages first; fail where it must not."""
    if not (REPOSITORY / ".venv" / "runtime.stamp").exists():
        reason = ".venv is not set up: the commands of the docs are NOT run"
        if os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail(reason)
        pytest.skip(reason)
