"""Opens the files by which processes lock a data folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def open_lock(path: Path) -> int:
    """Open a lock file, which is made if it is missing, and return its descriptor.

    If root makes it, it belongs to the owner of its folder: a server of that user opens it too.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        found, owner = os.fstat(fd), path.parent.stat()
        # Not another file of root, to which the owner of the folder has put a link.
        if found.st_uid == 0 and found.st_size == 0 and found.st_nlink == 1:
            with contextlib.suppress(OSError):
                os.fchown(fd, owner.st_uid, owner.st_gid)
    return fd
