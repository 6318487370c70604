"""A real server process for tests: started as an operator starts it, on a free port."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

REPOSITORY = Path(__file__).resolve().parents[1]
START_S = 60.0
KILL_S = 60.0
NOWHERE = f"{os.devnull}/nowhere"
# Settings of the developer's own shell must not reach the server under test.
FOREIGN = re.compile(r"BAS_|USE_|REDIS_|EMULATOR_|FIRESTORE_|GOOGLE_CLOUD_|TENANT_ID_")


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's environment without any setting of the server but these."""
    own = {key: value for key, value in os.environ.items() if not FOREIGN.match(key)}
    # What the server notes in the home folder of the user who runs it.
    return own | {"XDG_STATE_HOME": NOWHERE} | settings


def run_command(
    *arguments: str, data_dir: Path, stdin: str = "", python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Run `bas_server.py ARGUMENTS` to its end."""
    return subprocess.run(
        [python, str(REPOSITORY / "bas_server.py"), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=clean_environment(BAS_DATA_DIR=str(data_dir)),
    )


def kill_when_shown(arguments: Sequence[str], text: str, **settings: str) -> str:
    """Run `bas_server.py ARGUMENTS` on a terminal and SIGKILL it once it shows `text`.

    What it showed; AssertionError if it ended before.
    """
    leader, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "bas_server.py"), *arguments],
        stdout=terminal,
        env=clean_environment(**settings),
    )
    os.close(terminal)
    watchdog = threading.Timer(KILL_S, process.kill)
    watchdog.start()
    shown = ""
    try:
        with open(leader, "rb", buffering=0) as screen:
            while text not in shown:
                try:
                    shown += screen.read(1000).decode()
                except OSError:  # how Linux shows that nobody has the terminal open any more
                    raise AssertionError(f"it ended without {text!r}: {shown}") from None
            process.kill()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL
    return shown


class ServerProcess:
    """`python bas_server.py` with a data folder, listening when `start` returns."""

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        python: str = sys.executable,
        program: tuple[str, ...] = (str(REPOSITORY / "bas_server.py"),),
        folder: Path | None = None,
        **settings: str,
    ) -> None:
        self._arguments = [python, *program, *arguments]
        self._folder = folder
        self._env = clean_environment(
            **{"BAS_DATA_DIR": str(data_dir), "BAS_HOST": "127.0.0.1", "BAS_PORT": "0"} | settings
        )
        self.lines: list[str] = []
        self.scheme, self.port = "http", 0
        self.password: str | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> ServerProcess:
        """Start, and return once it serves; AssertionError with its output if it does not."""
        serving = self.launch()
        if not serving.wait(START_S) or not self.port:
            self.kill()
            raise AssertionError(self.output)
        return self

    def launch(self) -> threading.Event:
        """Start; the event is set once it serves, or has ended."""
        self._process = subprocess.Popen(
            self._arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self._folder,
            env=self._env,
        )
        serving = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(serving,), daemon=True)
        self._reader.start()
        return serving

    def _read(self, serving: threading.Event) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)
            if found := re.search(r"created user admin with password (\S+)", line):
                self.password = found[1]
            if found := re.search(r"serving on (https?)://\S+:(\d+)", line):
                self.scheme, self.port = found[1], int(found[2])
                serving.set()
        serving.set()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def children(self) -> set[int]:
        """The ids of its child processes now."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return set(map(int, path.read_text().split()))

    @property
    def output(self) -> str:
        """All it printed so far."""
        return "".join(self.lines)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Its exit code, once it has ended."""
        code = self._process.wait(timeout_s)
        self._reader.join(timeout_s)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def terminate(self, timeout_s: float = 30.0) -> int:
        """SIGTERM; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        self._process.kill()
        self.wait()

    def __enter__(self) -> ServerProcess:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self.kill()
