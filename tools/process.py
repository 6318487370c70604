"""A real server process for tests: started as an operator starts it, on a free port."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from tools.warm_start import PROGRAM, WarmProcess, starts_warm, warm_start

REPOSITORY = Path(PROGRAM).parent
START_S = 60.0
KILL_S = 60.0
COMMAND_S = 120.0
STDIN, STDERR = 0, 2
NOWHERE = f"{os.devnull}/nowhere"
# Settings of the developer's own shell must not reach the server under test.
FOREIGN = re.compile(r"BAS_|USE_|REDIS_|EMULATOR_|FIRESTORE_|GOOGLE_CLOUD_|TENANT_ID_")


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's environment without any setting of the server but these."""
    own = {key: value for key, value in os.environ.items() if not FOREIGN.match(key)}
    # What the server notes in the home folder of the user who runs it.
    return own | {"XDG_STATE_HOME": NOWHERE} | settings


def run_command(
    *arguments: str,
    data_dir: Path,
    stdin: str | bytes = "",
    python: str = sys.executable,
    folder: Path | None = None,
    timeout_s: float = COMMAND_S,
    **settings: str,
) -> subprocess.CompletedProcess[str]:
    """Run `bas_server.py ARGUMENTS` with these settings to its end."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    words = [python, PROGRAM, *arguments]
    environment = clean_environment(**{"BAS_DATA_DIR": str(data_dir)} | settings)
    if python != sys.executable or not starts_warm(environment):
        done = subprocess.run(
            words,
            input=given,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            cwd=folder,
            env=environment,
        )
        code, out, errors = done.returncode, done.stdout, done.stderr
    else:
        with ExitStack() as opened:
            files = [opened.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            files[0].write(given)
            files[0].seek(0)
            numbers = [file.fileno() for file in files]
            process = warm_start().start(arguments, environment, folder, numbers)
            opened.callback(process.kill)
            code = process.wait(timeout_s)
            for file in files:
                file.seek(0)
            out, errors = files[1].read(), files[2].read()
    return subprocess.CompletedProcess(words, code, out.decode(), errors.decode())


def kill_when_shown(arguments: Sequence[str], text: str, **settings: str) -> str:
    """Run `bas_server.py ARGUMENTS` on a terminal and SIGKILL it once it shows `text`.

    What it showed; AssertionError if it ended before.
    """
    leader, terminal = pty.openpty()
    environment = clean_environment(**settings)
    process: subprocess.Popen[bytes] | WarmProcess
    if starts_warm(environment):
        process = warm_start().start(arguments, environment, None, (STDIN, terminal, STDERR))
    else:
        words = [sys.executable, PROGRAM, *arguments]
        process = subprocess.Popen(words, stdout=terminal, env=environment)
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
        program: tuple[str, ...] = (PROGRAM,),
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
        output, theirs = os.pipe()
        self._stdout = os.fdopen(output, encoding="utf-8")
        try:
            self._process = self._started(theirs)
        finally:
            os.close(theirs)
        serving = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(serving,), daemon=True)
        self._reader.start()
        return serving

    def _started(self, output: int) -> subprocess.Popen[bytes] | WarmProcess:
        """The process that writes to this file."""
        if self._arguments[:2] == [sys.executable, PROGRAM] and starts_warm(self._env):
            arguments, files = self._arguments[2:], (STDIN, output, output)
            return warm_start().start(arguments, self._env, self._folder, files)
        return subprocess.Popen(
            self._arguments, stdout=output, stderr=output, cwd=self._folder, env=self._env
        )

    def _read(self, serving: threading.Event) -> None:
        for line in self._stdout:
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
        self._stdout.close()
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
