"""Followed: its follower gets every record once and in order, also after events that were sent
ahead, repetitions and gaps."""

from __future__ import annotations

import random

import pytest

from server.services.ports.event_log import Cursor, Entry, Event
from server.services.sse_service.redis.follower import Followed
from server.services.sse_service.redis.history_check import entries_for
from server.services.sse_service.redis.outbox import Item
from server.services.sse_service.redis.records import mark_of
from tests.unit.services.sse_service.redis.test_records import EPOCH, OTHER, RUN, history

BEGIN = Cursor(EPOCH, 0, "0" * 13)


class RecordingFollower:
    """A follower that keeps the entries it gets."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.begun: list[Cursor] = []
        self.lost = 0

    def begin(self, cursor: Cursor) -> None:
        self.begun.append(cursor)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)

    def lose(self) -> None:
        self.lost += 1

    @property
    def data(self) -> list[str]:
        """The data of the events, without entries that only carry an offset."""
        frames = [entry.frame.decode() for entry in self.entries]
        return [frame.split("data: ")[1].strip() for frame in frames if "data: " in frame]


def following(begin: Cursor = BEGIN, own: int = 0) -> tuple[Followed, RecordingFollower]:
    recorder = RecordingFollower()
    followed = Followed("here", recorder, RUN)
    followed.begin(begin, own)
    return followed, recorder


def theirs(count: int):
    return history([mark_of(OTHER, n) for n in range(1, count + 1)])


async def item(seq: int) -> Item:
    return Item(seq, Event("telemetry", f"own {seq}"))


def test_published_records_are_passed_on_in_order_and_repetitions_are_not() -> None:
    followed, recorder = following()
    records = theirs(4)
    assert followed.receive(EPOCH, records[:2]) == "all"
    assert followed.receive(EPOCH, records[:3]) == "all"
    assert followed.receive(EPOCH, records[2:]) == "all"
    assert recorder.entries == [record.entry for record in records]
    assert str(followed.cursor) == records[-1].entry.id


def test_a_skipped_record_a_replaced_record_and_another_epoch_are_noticed() -> None:
    records = theirs(4)
    followed, recorder = following()
    assert followed.receive(EPOCH, records[1:]) == "gap"
    assert recorder.entries == []
    followed, recorder = following()
    followed.receive(EPOCH, records[:2])
    assert followed.receive(EPOCH, history([mark_of(OTHER, 8), mark_of(OTHER, 9)])[1:]) == "gap"
    assert followed.receive(EPOCH, history([mark_of(OTHER, n) for n in (7, 8, 9)])[2:]) == "gap"
    assert followed.receive("other-epoch", records[2:]) == "other history"
    assert len(recorder.entries) == 2


def test_a_record_that_arrives_during_a_read_of_the_log_makes_it_read_further() -> None:
    followed, recorder = following()
    followed.filling = True
    assert followed.receive(EPOCH, theirs(1)) == "all"
    assert followed.missed
    assert recorder.entries == []


async def test_own_events_sent_ahead_are_passed_on_once_and_later_only_their_offsets() -> None:
    followed, recorder = following()
    marks = [mark_of(OTHER, 1), mark_of(RUN, 1), mark_of(OTHER, 2), mark_of(RUN, 2)]
    records = history([*marks, mark_of(OTHER, 3)])
    followed.receive(EPOCH, records[:1])
    followed.take_ahead(await item(1))
    followed.take_ahead(await item(2))
    assert str(followed.cursor) == f"{records[0].entry.id}-{mark_of(RUN, 2)}"
    followed.receive(EPOCH, records[1:])
    assert recorder.data == ["1", "own 1", "own 2", "3", "5"]
    ids = [entry.id for entry in recorder.entries]
    plain = [record.entry.id for record in records]
    ahead = f"-{mark_of(RUN, 2)}"
    assert ids == [
        plain[0],
        f"{plain[0]}-{mark_of(RUN, 1)}",
        plain[0] + ahead,
        plain[1] + ahead,
        plain[2] + ahead,
        plain[3],
        plain[4],
    ]


async def test_an_own_event_that_is_already_in_the_history_is_not_sent_ahead() -> None:
    followed, recorder = following()
    followed.receive(EPOCH, history([mark_of(RUN, 1)]))
    followed.take_ahead(await item(1))
    assert len(recorder.entries) == 1
    behind, recorder = following(Cursor(EPOCH, 9, mark_of(OTHER, 9)), own=4)
    behind.take_ahead(await item(4))
    assert recorder.entries == []
    behind.take_ahead(await item(5))
    assert recorder.data == ["own 5"]


async def test_a_follower_without_redis_gets_own_events_and_no_history() -> None:
    recorder = RecordingFollower()
    followed = Followed("here", recorder, RUN)
    followed.begin_alone()
    followed.receive(EPOCH, theirs(2))
    followed.take_ahead(await item(1))
    assert recorder.data == ["own 1"]
    assert recorder.begun[0].epoch != EPOCH
    followed.lose()
    followed.lose()
    assert recorder.lost == 1


def test_a_head_that_does_not_match_the_received_records_is_noticed() -> None:
    records = theirs(3)

    def agrees(epoch: str | None, tip: int, mark: str) -> bool:
        followed, _ = following()
        followed.receive(EPOCH, records)
        head = (epoch.encode() if epoch else None, tip, mark.encode())
        return followed.agrees(followed.log_cursor, *head)

    newest = records[-1].mark
    assert agrees(EPOCH, 3, newest)
    assert agrees(EPOCH, 4, mark_of(OTHER, 4))
    assert not agrees(EPOCH, 3, mark_of(OTHER, 4))
    assert not agrees(EPOCH, 2, records[1].mark)
    assert not agrees("other-epoch", 3, newest)
    assert not agrees(None, 0, newest)


def test_a_record_still_missing_at_the_next_comparison_counts_as_lost() -> None:
    followed, _ = following()
    records = theirs(3)
    followed.receive(EPOCH, records[:2])
    head = (EPOCH.encode(), 3, records[2].mark.encode())
    assert followed.agrees(followed.log_cursor, *head)
    assert not followed.agrees(followed.log_cursor, *head)


def data_of(entries: list[Entry]) -> list[str]:
    recorder = RecordingFollower()
    recorder.entries = entries
    return recorder.data


@pytest.mark.parametrize("seed", range(20))
async def test_a_client_that_ignores_ids_without_data_resumes_anywhere_with_every_event_once(
    seed: int,
) -> None:
    """Three clients from npm do so: they keep the id of their last event with data."""
    rng = random.Random(seed)
    followed, recorder = following()
    producers = [RUN] * 6 + [OTHER] * 6
    rng.shuffle(producers)
    count = dict.fromkeys(producers, 0)
    marks = []
    for run in producers:
        count[run] += 1
        marks.append(mark_of(run, count[run]))
    records = history(marks)
    cut = rng.randrange(6)
    followed.receive(EPOCH, records[:cut])
    own_before = sum(1 for mark in marks[:cut] if mark.startswith(RUN))
    for seq in range(own_before + 1, count[RUN] + 1):
        followed.take_ahead(Item(seq, Event("telemetry", str(marks.index(mark_of(RUN, seq)) + 1))))
    followed.receive(EPOCH, records[cut:])
    every = sorted(recorder.data, key=int)
    assert every == [str(position) for position in range(1, len(records) + 1)]
    for read in range(1, len(recorder.entries) + 1):
        got = recorder.entries[:read]
        shown = [entry for entry in got if b"data:" in entry.frame]
        if not shown:
            continue
        cursor = Cursor.parse(shown[-1].id)
        assert cursor is not None
        after = entries_for(cursor, records[cursor.position :], len(records))
        assert sorted(data_of([*got, *after]), key=int) == every
