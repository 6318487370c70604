"""A server on a core of its own, and what the kernel knows of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tools.process import REPOSITORY, ServerProcess

AS_INSTALLED = str(REPOSITORY / "scripts" / "bench" / "as_installed")
SERVER_CORE, LOAD_CORE = 0, 1
_ALLOWED = sorted(os.sched_getaffinity(0))


def pin(core: int) -> None:
    """Keep this thread, and what it starts from now on, on one core if there are several."""
    if len(_ALLOWED) > 1:
        os.sched_setaffinity(0, {_ALLOWED[core]})


@contextmanager
def anywhere() -> Iterator[None]:
    """On whatever core is free, for more processes than cores."""
    os.sched_setaffinity(0, set(_ALLOWED))
    try:
        yield
    finally:
        pin(LOAD_CORE)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Pinned to `core` within the context, then to where the load belongs."""
    pin(core)
    try:
        yield
    finally:
        pin(LOAD_CORE)


@contextmanager
def server(data_dir: Path, **settings: str) -> Iterator[ServerProcess]:
    """A server that runs on its core within the context."""
    with server_of(REPOSITORY / "bas_server.py", data_dir, **settings) as process:
        yield process


@contextmanager
def server_of(program: Path, data_dir: Path, **settings: str) -> Iterator[ServerProcess]:
    """As `server`, of the `bas_server.py` of any version.

    Compiled modules are kept, as for an operator, even where the shell of a developer forbids it:
    compiling at every start costs time and leaves half a megabyte behind. Packages that only test
    tools bring are hidden from it.
    """
    with ExitStack() as stack:
        with on_core(SERVER_CORE):
            settings = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": AS_INSTALLED} | settings
            started = ServerProcess(data_dir, program=(str(program),), **settings)  # type: ignore[arg-type]  # no `folder`
            process = stack.enter_context(started)
        yield process


def resident_kb(pid: int | str) -> int:
    """The resident memory of a process (VmRSS); `self` is this one."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None, f"process {pid} is gone"
    return int(found[1])


def peak_kb(pid: int) -> int:
    """The most resident memory that a process has had (VmHWM)."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None, f"process {pid} is gone"
    return int(found[1])


def written_bytes(pid: int | str) -> int:
    """What a process has caused to be written to a disk so far, as the kernel counts it."""
    found = re.search(r"^write_bytes: (\d+)", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    assert found is not None, f"process {pid} is gone"
    return int(found[1])


def cpu_s(pid: int) -> float:
    """The processor time a process has used, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
