"""Where an unfinished copy stopped: kept in a file, for each pair of stores, and checked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.clock import SystemClock
from server.metrics import Metrics
from server.services.embedded.sqlite_client import SqliteClient
from server.services.firestore.base import Page, Put, Query
from server.services.firestore.copying import Progress, copy
from server.services.firestore.places import Place, Places

DOCUMENTS = 1700


class Watched(SqliteClient):
    """A store that remembers which pages it was asked for."""

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


async def all_of(source: SqliteClient, target: SqliteClient, place: Place | None) -> list[Progress]:
    return [progress async for progress in copy(source, target, "telemetry", place)]


async def test_a_copy_from_a_place_reads_only_what_lies_behind_it(
    source: Watched, target: SqliteClient
) -> None:
    whole = await all_of(source, target, None)
    assert [(one.seen, one.written) for one in whole] == [
        (500, 500),
        (1000, 1000),
        (1500, 1500),
        (1700, 1700),
    ]
    assert whole[-1].place is None
    source.pages.clear()
    rest = await all_of(source, target, whole[1].place)
    assert source.pages == ["01000", "01500"]
    assert [(one.seen, one.written) for one in rest] == [(1500, 0), (1700, 0)]


async def test_a_place_survives_inserts_and_deletes(source: Watched, target: SqliteClient) -> None:
    pages = copy(source, target, "telemetry")
    place = (await anext(pages)).place
    await pages.aclose()
    await source.write([Put("telemetry", "00250.5", {}), Put("telemetry", "00600.5", {})])
    rest = await all_of(source, target, place)
    assert rest[-1].written == DOCUMENTS - 500 + 1


@pytest.fixture
async def place(source: Watched, target: SqliteClient) -> Place:
    progress = await anext(copy(source, target, "telemetry"))
    assert progress.place is not None
    return progress.place


def test_a_place_is_found_again_by_the_same_pair_alone(tmp_path: Path, place: Place) -> None:
    file = tmp_path / "places.json"
    Places(file, "one", "two").keep("telemetry", place)
    assert Places(file, "one", "two").of("telemetry") == place
    assert Places(file, "one", "two").of("audit_log") is None
    for pair in (("two", "one"), ("one", "other"), ("other", "two")):
        assert Places(file, *pair).of("telemetry") is None


def test_a_pair_forgets_its_own_places_and_the_file_goes_with_the_last(
    tmp_path: Path, place: Place
) -> None:
    file = tmp_path / "places.json"
    Places(file, "one", "two").keep("telemetry", place)
    Places(file, "two", "one").keep("audit_log", place)
    Places(file, "one", "two").forget()
    assert Places(file, "one", "two").of("telemetry") is None
    assert Places(file, "two", "one").of("audit_log") == place
    Places(file, "two", "one").forget()
    assert sorted(tmp_path.glob("places*")) == []
    Places(file, "two", "one").forget()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"\xff\0", b"[]", b"null", b"[" * 100_000, b'{"one > two": {"telemetry": 7}}'),
        b'{"one > two": {"telemetry": {"cursor": "x", "seen": -1}}}',
        b'{"one > two": {"telemetry": {"cursor": "x", "seen": 5}}}',
        b'{"one > two": {"telemetry": {"cursor": "", "seen": 5}}}',
    ],
)
def test_a_damaged_file_means_the_start_and_is_replaced(
    tmp_path: Path, place: Place, content: bytes
) -> None:
    file = tmp_path / "places.json"
    file.write_bytes(content)
    places = Places(file, "one", "two")
    assert places.of("telemetry") is None
    places.keep("telemetry", place)
    assert Places(file, "one", "two").of("telemetry") == place
    assert json.loads(file.read_bytes()).keys() == {"one > two"}


def test_a_place_beside_a_file_that_cannot_be_read_is_still_kept(
    tmp_path: Path, place: Place
) -> None:
    (tmp_path / "places.json").mkdir()
    places = Places(tmp_path / "places.json", "one", "two")
    assert places.of("telemetry") is None
    with pytest.raises(OSError, match=r"places\.json"):
        places.keep("telemetry", place)
