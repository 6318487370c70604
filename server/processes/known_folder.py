"""Remembers data folders on disks of their own: an empty one may be a disk that is not mounted."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from server.config.config import state_home

log = logging.getLogger(__name__)

# At most so many folders are remembered, the newest ones.
FOLDERS_MAX = 100
# What an empty disk holds all the same, and what a start that was refused may have left.
NO_CONTENT = {"lost+found", "server.lock"}


def check(folder: Path) -> None:
    """Raise OSError if a site was in this folder at an earlier start, and nothing is there now.

    A new site in its place would hide the old one: devices and users would be unknown, and the
    readings of an outage would lie below the mount point.
    """
    if _is_empty(folder) and str(folder.resolve()) in _remembered():
        raise OSError(
            f"{folder} is empty, but a site was there at an earlier start: its disk may not be"
            f" mounted. Mount it (findmnt --target {folder}), or start once with --new-site to"
            " begin a new site there"
        )


def remember(folder: Path) -> None:
    """Note that a site is in this folder, if the folder is on another disk than the system.

    The note is outside that disk, in the home folder of the user who runs the server. A folder on
    the system's own disk is there whenever the server is: one that is empty was emptied by someone.
    """
    if not _is_on_own_disk(folder):
        return
    name, known = str(folder.resolve()), _remembered()
    if name in known:
        return
    try:
        path = _list_path()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = path.with_name(f"{path.name}.new")
        new.write_text("".join(f"{one}\n" for one in [*known, name][-FOLDERS_MAX:]))
        os.replace(new, path)
    except (OSError, RuntimeError) as error:
        log.info(
            "a start without the disk of %s will not be noticed (%s): let systemd wait for it with"
            " RequiresMountsFor, or give the server's user a home folder",
            folder,
            error,
        )


def _list_path() -> Path:
    return state_home() / "bas-server" / "data-folders"


def _remembered() -> list[str]:
    try:
        return _list_path().read_text().splitlines()
    except (OSError, ValueError, RuntimeError):
        return []


def _is_empty(folder: Path) -> bool:
    try:
        return not {entry.name for entry in os.scandir(folder)} - NO_CONTENT
    except FileNotFoundError:
        return True


def _is_on_own_disk(folder: Path) -> bool:
    path = folder.resolve()
    while not path.is_mount():
        path = path.parent
    return path != Path(path.anchor)
