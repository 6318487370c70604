"""Servers on one data folder: one whose disk is missing, and one whose lock file was deleted."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.process import ServerProcess

# It stands for a disk of its own: a file system with another place in the tree than the system's.
OWN_DISK = Path("/dev/shm")


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder on another file system than the system's."""
    if not OWN_DISK.is_mount():
        pytest.skip("/dev/shm is no file system of its own")
    with tempfile.TemporaryDirectory(dir=OWN_DISK) as folder:
        yield Path(folder)


def refusal(server: ServerProcess) -> str:
    """What a server says that does not start."""
    server.launch()
    assert server.wait() == 1
    return server.output


def emptied(folder: Path) -> None:
    """Leave the folder as a mount point is whose disk is missing."""
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("arguments", [(), ("--demo",)])
def test_a_start_on_a_disk_that_is_missing_is_refused_until_a_new_site_is_asked_for(
    disk: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    folder, state = disk / "data", {"XDG_STATE_HOME": str(tmp_path / "state")}
    for _ in range(2):
        with ServerProcess(folder, *arguments, **state) as server:
            assert server.terminate() == 0
    used = folder / "demo" if arguments else folder
    emptied(used)
    for _ in range(2):
        said = refusal(ServerProcess(folder, *arguments, **state))
        assert f"{used} is empty, but a site was there at an earlier start" in said
        assert "--new-site" in said
        assert list(used.iterdir()) == []
    with ServerProcess(folder, "--new-site", *arguments, **state) as server:
        assert server.password is not None
        assert server.terminate() == 0
    with ServerProcess(folder, *arguments, **state) as server:
        assert server.password is None
        assert server.terminate() == 0


def test_a_start_whose_data_folder_is_missing_below_a_disk_is_refused(
    disk: Path, tmp_path: Path
) -> None:
    folder, state = disk / "data", {"XDG_STATE_HOME": str(tmp_path / "state")}
    with ServerProcess(folder, **state) as server:
        assert server.terminate() == 0
    shutil.rmtree(folder)
    assert "is empty, but a site was there" in refusal(ServerProcess(folder, **state))
    assert not folder.exists()


def test_a_server_that_cannot_note_its_folder_serves(disk: Path) -> None:
    for _ in range(2):
        with ServerProcess(disk / "data") as server:
            assert server.terminate() == 0
        emptied(disk / "data")


@pytest.mark.parametrize("deleted", ["server.lock", "server.lock and back"])
def test_a_second_server_is_refused_although_the_lock_file_was_deleted(
    tmp_path: Path, deleted: str
) -> None:
    folder = tmp_path / "data"
    with ServerProcess(folder) as first:
        (folder / "server.lock").unlink()
        if deleted != "server.lock":
            (folder / "server.lock").touch()
        assert "another server already uses" in refusal(ServerProcess(folder))
        assert first.terminate() == 0
    with ServerProcess(folder) as again:
        assert again.terminate() == 0
