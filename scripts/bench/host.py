"""A server on a core of its own, and what the kernel knows of it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.process import ServerProcess

SERVER_CORE, LOAD_CORE = 0, 1
_ALLOWED = sorted(os.sched_getaffinity(0))


def pin(core: int) -> None:
    """Keep this thread, and what it starts from now on, on one core if there are several."""
    if len(_ALLOWED) > 1:
        os.sched_setaffinity(0, {_ALLOWED[core]})


@contextmanager
def anywhere() -> Iterator[None]:
    """On whatever core is free meanwhile, for more processes than cores."""
    os.sched_setaffinity(0, set(_ALLOWED))
    try:
        yield
    finally:
        pin(LOAD_CORE)


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Pinned to `core` meanwhile, then to where the load belongs."""
    pin(core)
    try:
        yield
    finally:
        pin(LOAD_CORE)


@contextmanager
def server(data_dir: Path, **settings: str) -> Iterator[ServerProcess]:
    """A server on its core, running meanwhile.

    Compiled modules are kept, as for an operator, even where the shell of a developer forbids it:
    compiling at every start costs time and leaves half a megabyte behind.
    """
    with ExitStack() as stack:
        with on_core(SERVER_CORE):
            settings = {"PYTHONDONTWRITEBYTECODE": ""} | settings
            started = ServerProcess(data_dir, **settings)  # type: ignore[arg-type]  # no `program`
            process = stack.enter_context(started)
        yield process


def resident_kb(pid: int | str) -> int:
    """The resident memory of a process (VmRSS); `self` is this one."""
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None, f"process {pid} is gone"
    return int(found[1])


def cpu_s(pid: int) -> float:
    """The processor time a process has used, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
