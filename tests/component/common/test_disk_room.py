"""DiskRoom: the room of a real disk, and a folder that cannot be looked at."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from server.common.disk_room import DiskRoom
from server.common.errors import Unavailable


async def test_too_little_room_is_told_each_time_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    room = DiskRoom(tmp_path, 10**9)
    for _ in range(3):
        with pytest.raises(Unavailable, match="DISK_LOW"):
            await room.check()
    assert len(caplog.records) == 1
    room._least_mb = 0
    await room.check()
    await room.check()
    assert [record.message.endswith("again") for record in caplog.records] == [False, True]


async def test_a_folder_that_is_gone_is_told_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file or directory"):
        await DiskRoom(tmp_path / "gone", 0).check()


async def test_a_check_leaves_no_thread(tmp_path: Path) -> None:
    room = DiskRoom(tmp_path, 0)
    for _ in range(20):
        await room.check()
    for thread in threading.enumerate():
        if thread.name == "disk-room":
            thread.join(10)
    assert all(thread.name != "disk-room" for thread in threading.enumerate())
