"""The position at which a copy stopped: it is stored in a file for each pair of stores."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.common.clock import SystemClock
from server.common.metrics import Metrics
from server.services.firestore.copy import Progress, copy
from server.services.firestore.copy_progress import CopyPosition, CopyProgress
from server.services.ports.documents import Page, Put, Query
from server.services.sqlite.client import SqliteClient

DOCUMENTS = 1700


class Watched(SqliteClient):
    """A store that records the pages that were read."""

    pages: list[str]

    async def query(self, query: Query, limit: int, cursor: str | None = None) -> Page:
        page = await super().query(query, limit, cursor)
        self.pages.append(page.documents[0].id if page.documents else "")
        return page


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Watched]:
    async with Watched(tmp_path / "source.db", [], SystemClock(), Metrics()) as client:
        assert isinstance(client, Watched)
        client.pages = []
        puts = [Put("telemetry", f"{number:05}", {"n": number}) for number in range(DOCUMENTS)]
        for first in range(0, DOCUMENTS, 500):
            await client.write(puts[first : first + 500])
        yield client


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[SqliteClient]:
    async with SqliteClient(tmp_path / "target.db", [], SystemClock(), Metrics()) as client:
        yield client


async def all_of(
    source: SqliteClient, target: SqliteClient, position: CopyPosition | None
) -> list[Progress]:
    return [progress async for progress in copy(source, target, "telemetry", position)]


async def test_a_copy_from_a_position_reads_only_the_documents_after_it(
    source: Watched, target: SqliteClient
) -> None:
    whole = await all_of(source, target, None)
    assert [(one.seen, one.written) for one in whole] == [
        (500, 500),
        (1000, 1000),
        (1500, 1500),
        (1700, 1700),
    ]
    assert whole[-1].position is None
    source.pages.clear()
    rest = await all_of(source, target, whole[1].position)
    assert source.pages == ["01000", "01500"]
    assert [(one.seen, one.written) for one in rest] == [(1500, 0), (1700, 0)]


async def test_a_position_stays_valid_after_inserts_and_deletes(
    source: Watched, target: SqliteClient
) -> None:
    pages = copy(source, target, "telemetry")
    position = (await anext(pages)).position
    await pages.aclose()
    await source.write([Put("telemetry", "00250.5", {}), Put("telemetry", "00600.5", {})])
    rest = await all_of(source, target, position)
    assert rest[-1].written == DOCUMENTS - 500 + 1


@pytest.fixture
async def position(source: Watched, target: SqliteClient) -> CopyPosition:
    progress = await anext(copy(source, target, "telemetry"))
    assert progress.position is not None
    return progress.position


def test_a_position_is_found_only_for_the_same_pair_of_stores(
    tmp_path: Path, position: CopyPosition
) -> None:
    file = tmp_path / "places.json"
    CopyProgress(file, "one", "two").keep("telemetry", position)
    assert CopyProgress(file, "one", "two").of("telemetry") == position
    assert CopyProgress(file, "one", "two").of("audit_log") is None
    for pair in (("two", "one"), ("one", "other"), ("other", "two")):
        assert CopyProgress(file, *pair).of("telemetry") is None


def test_forget_removes_the_pair_s_positions_and_the_file_after_the_last_pair(
    tmp_path: Path, position: CopyPosition
) -> None:
    file = tmp_path / "places.json"
    CopyProgress(file, "one", "two").keep("telemetry", position)
    CopyProgress(file, "two", "one").keep("audit_log", position)
    CopyProgress(file, "one", "two").forget()
    assert CopyProgress(file, "one", "two").of("telemetry") is None
    assert CopyProgress(file, "two", "one").of("audit_log") == position
    CopyProgress(file, "two", "one").forget()
    assert sorted(tmp_path.glob("places*")) == []
    CopyProgress(file, "two", "one").forget()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\xff\0", b"[]", b"null", b"[" * 100_000, b'{"one > two": {"telemetry": 7}}'),
        b'{"one > two": {"telemetry": {"cursor": "x", "seen": -1}}}',
        b'{"one > two": {"telemetry": {"cursor": "x", "seen": 5}}}',
        b'{"one > two": {"telemetry": {"cursor": "", "seen": 5}}}',
    ],
)
def test_a_damaged_file_counts_as_empty_and_is_replaced(
    tmp_path: Path, position: CopyPosition, content: bytes
) -> None:
    file = tmp_path / "places.json"
    file.write_bytes(content)
    progress_file = CopyProgress(file, "one", "two")
    assert progress_file.of("telemetry") is None
    progress_file.keep("telemetry", position)
    assert CopyProgress(file, "one", "two").of("telemetry") == position
    assert json.loads(file.read_bytes()).keys() == {"one > two"}


def test_a_file_that_cannot_be_read_counts_as_empty_and_a_failed_write_is_an_error(
    tmp_path: Path, position: CopyPosition
) -> None:
    (tmp_path / "places.json").mkdir()
    progress_file = CopyProgress(tmp_path / "places.json", "one", "two")
    assert progress_file.of("telemetry") is None
    with pytest.raises(OSError, match=r"places\.json"):
        progress_file.keep("telemetry", position)
