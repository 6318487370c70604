"""Refuses a command on a data folder while another one, or a server, works there."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from server.common.lock_file import open_lock
from server.processes.only_server import SERVER_LOCK


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Raise OSError if another process is in such a block; the kernel ends a dead one's claim.

    Two of them would both find a reading missing and both store it.
    """
    fd = open_lock(folder / "copying.lock")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise OSError(
            f"another copy or import works in {folder}: wait for its end, then start again"
        ) from None
    finally:
        os.close(fd)


@contextlib.contextmanager
def no_server(folder: Path) -> Iterator[None]:
    """Raise OSError if a server uses the folder, or another such block; none can start in it."""
    fd = open_lock(folder / SERVER_LOCK)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise OSError(
            f"a server uses {folder}, or a command that allows no server: stop it first"
        ) from None
    finally:
        os.close(fd)
