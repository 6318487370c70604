"""WaitingNotes: which tenants' events a process held that has ended."""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from server.services.sse_service.redis.waiting_notes import TRY_AGAIN_S, WaitingNotes
from tests.support.clock import ManualClock

# A process that notes two tenants, says so, and lives until its input ends.
HOLDER = """
import asyncio, sys
from pathlib import Path
from server.services.sse_service.redis.waiting_notes import WaitingNotes
from tests.support.clock import ManualClock
notes = WaitingNotes(Path(sys.argv[1]), "0123456789ab", ManualClock())
for tenant in ("acme", "a/b\\nc"):
    asyncio.run(notes.note(tenant))
print("noted", flush=True)
sys.stdin.read()
"""

# A process whose disk takes two bytes, and some seconds later has room for the same tenant's note.
FULL = """
import asyncio, resource, signal, sys
from pathlib import Path
from server.services.sse_service.redis.waiting_notes import TRY_AGAIN_S, WaitingNotes
from tests.support.clock import ManualClock
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
clock = ManualClock()
notes = WaitingNotes(Path(sys.argv[1]), "0123456789ab", clock)
resource.setrlimit(resource.RLIMIT_FSIZE, (2, resource.RLIM_INFINITY))
asyncio.run(notes.note("acme"))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
clock.advance(TRY_AGAIN_S)
asyncio.run(notes.note("acme"))
"""


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def left(folder: Path) -> list[str]:
    async with WaitingNotes(folder, "another", ManualClock()).left() as tenants:
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
    notes = WaitingNotes(tmp_path, "own", ManualClock())
    with pytest.raises(RuntimeError):
        async with notes.left():
            raise RuntimeError
    assert await left(tmp_path) == ["acme"]


async def test_nothing_is_left_when_no_event_waits_any_more(tmp_path: Path) -> None:
    notes = WaitingNotes(tmp_path, "own", ManualClock())
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
    notes = WaitingNotes(tmp_path / "gone", "own", ManualClock())
    for tenant_id in ("acme", "other"):
        await notes.note(tenant_id)
    (line,) = caplog.messages
    assert "own.waiting could not be written" in line
    assert await left(tmp_path / "gone") == []


async def test_a_tenant_whose_note_the_disk_did_not_take_is_noted_with_a_later_event(
    tmp_path: Path,
) -> None:
    clock, folder = ManualClock(), tmp_path / "later"
    notes = WaitingNotes(folder, "own", clock)
    await notes.note("acme")
    folder.mkdir()
    await notes.note("acme")
    # A disk that is full is not tried with each event.
    assert files(folder) == []
    clock.advance(TRY_AGAIN_S)
    await notes.note("acme")
    assert files(folder) == ["own.waiting"]


async def test_a_note_of_which_a_full_disk_took_a_part_is_written_again(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FULL, str(tmp_path))
    assert await process.wait() == 0
    assert await left(tmp_path) == ["acme"]
