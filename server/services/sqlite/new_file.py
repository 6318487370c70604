"""NewFile: a file that has its name only once it is whole and on the disk."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path
from types import TracebackType

# Suffix of a file that is being written, or whose writer was killed: the next one replaces it.
UNFINISHED_SUFFIX = ".unfinished"
# Room that stays free: the server goes on writing beside the copy.
SPARE_BYTES = 64 * 1024 * 1024


class NewFile:
    """Within the block, the file `part` is this process's; `publish` gives it its name.

    It is readable for its owner alone. If root makes it, it belongs to the owner of its folder.
    Raises OSError with a text for the operator, also if the name is taken, unless `replace`.
    """

    def __init__(self, path: Path, *, replace: bool = False) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}{UNFINISHED_SUFFIX}")
        self._replace = replace
        self._published = False

    def __enter__(self) -> NewFile:
        self._check_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self.part, flags, 0o600)
        try:
            self._claim()
        except OSError:
            os.close(self._fd)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._published:
            with contextlib.suppress(OSError):
                self.part.unlink()
        os.close(self._fd)

    @property
    def is_private(self) -> bool:
        """Whether the file system keeps the file's mode: FAT does not."""
        return not os.stat(self.path if self._published else self.part).st_mode & 0o077

    def need_room(self, size: int) -> None:
        """Raise OSError unless the disk has room for so many bytes."""
        free = shutil.disk_usage(self.path.parent).free
        if free < size + SPARE_BYTES:
            raise OSError(
                f"the disk of {self.path.parent} has {_mb(free)} MB free, and this needs"
                f" {_mb(size + SPARE_BYTES)} MB: free some room, or name a path on another disk"
            )

    def empty(self) -> None:
        """Begin again, without what was written."""
        os.ftruncate(self._fd, 0)

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        os.fsync(self._fd)

    def forget_cache(self) -> None:
        """Let the next reads come from the disk, where the system can do that."""
        self.sync()
        with contextlib.suppress(OSError):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def publish(self) -> None:
        """Give the file its name."""
        self.sync()
        self._check_name()
        os.rename(self.part, self.path)
        self._published = True
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _check_name(self) -> None:
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {self.path.parent}: make it first")
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            raise OSError(f"{self.path} is no ordinary file: name another path")
        if self.path.exists() and not self._replace:
            raise FileExistsError(f"{self.path} exists already: name another path, or add --force")

    def _claim(self) -> None:
        """Make the open file this process's own and empty; the kernel ends a dead one's claim."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_it = os.path.samestat(os.fstat(self._fd), os.stat(self.part))
        except (BlockingIOError, FileNotFoundError):
            is_it = False
        if not is_it:
            raise OSError(f"another process is writing {self.part}: wait for its end")
        os.ftruncate(self._fd, 0)
        with contextlib.suppress(PermissionError):
            os.fchmod(self._fd, 0o600)
        if os.geteuid() == 0:
            owner = self.path.parent.stat()
            with contextlib.suppress(OSError):
                os.fchown(self._fd, owner.st_uid, owner.st_gid)


def _mb(size: int) -> int:
    return -(-size // 10**6)
