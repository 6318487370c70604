"""WaitingNotes: which tenants' events a process held that has ended."""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from server.services.sse_service.redis.waiting_notes import WaitingNotes

# A process that notes two tenants, says so, and lives until its input ends.
HOLDER = """
import asyncio, sys
from pathlib import Path
from server.services.sse_service.redis.waiting_notes import WaitingNotes
notes = WaitingNotes(Path(sys.argv[1]), "0123456789ab")
for tenant in ("acme", "a/b\\nc"):
    asyncio.run(notes.note(tenant))
print("noted", flush=True)
sys.stdin.read()
"""


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def left(folder: Path) -> list[str]:
    async with WaitingNotes(folder, "another").left() as tenants:
        return tenants


async def test_the_note_of_a_killed_process_is_found_once_and_that_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    command = sys.executable, "-c", HOLDER, str(tmp_path)
    holder = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"noted\n"
    assert await left(tmp_path) == []
    holder.kill()
    await holder.wait()
    assert await left(tmp_path) == ["a/b\nc", "acme"]
    assert await left(tmp_path) == []
    assert files(tmp_path) == []


async def test_a_note_is_kept_until_its_tenants_were_told(tmp_path: Path) -> None:
    (tmp_path / "dead.waiting").write_text('"acme"\n"cut o')
    notes = WaitingNotes(tmp_path, "own")
    with pytest.raises(RuntimeError):
        async with notes.left():
            raise RuntimeError
    assert await left(tmp_path) == ["acme"]


async def test_nothing_is_left_when_no_event_waits_any_more(tmp_path: Path) -> None:
    notes = WaitingNotes(tmp_path, "own")
    await notes.clear()
    for _ in range(2):
        await notes.note("acme")
        assert files(tmp_path) == ["own.waiting"]
        await notes.clear()
        assert files(tmp_path) == []


async def test_a_folder_that_takes_no_note_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    notes = WaitingNotes(tmp_path / "gone", "own")
    for tenant_id in ("acme", "other"):
        await notes.note(tenant_id)
    (line,) = caplog.messages
    assert "own.waiting could not be written" in line
    assert await left(tmp_path / "gone") == []
