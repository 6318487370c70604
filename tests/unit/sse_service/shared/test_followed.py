"""A follower hears every record once and in order, whatever came ahead, twice or with a gap."""

from __future__ import annotations

from server.services.sse_service.backend import Cursor, Entry
from server.services.sse_service.event import Event
from server.services.sse_service.shared.followed import Followed
from server.services.sse_service.shared.outbox import Item
from server.services.sse_service.shared.records import mark_of
from tests.unit.sse_service.shared.test_records import EPOCH, OTHER, RUN, history

BEGIN = Cursor(EPOCH, 0, "0" * 13)


class Told:
    """A follower that remembers."""

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
        """The data of the events, without mere places."""
        frames = [entry.frame.decode() for entry in self.entries]
        return [frame.split("data: ")[1].strip() for frame in frames if "data: " in frame]


def following(begin: Cursor = BEGIN, own: int = 0) -> tuple[Followed, Told]:
    told = Told()
    followed = Followed("here", told, RUN)
    followed.begin(begin, own)
    return followed, told


def theirs(count: int):
    return history([mark_of(OTHER, n) for n in range(1, count + 1)])


async def item(seq: int) -> Item:
    return Item(seq, Event("telemetry", f"own {seq}"))


def test_what_is_published_is_told_in_order_and_repetitions_are_not() -> None:
    followed, told = following()
    records = theirs(4)
    assert followed.hear(EPOCH, records[:2]) == "all"
    assert followed.hear(EPOCH, records[:3]) == "all"
    assert followed.hear(EPOCH, records[2:]) == "all"
    assert told.entries == [record.entry for record in records]
    assert str(followed.cursor) == records[-1].entry.id


def test_a_skipped_record_another_one_in_its_place_and_another_epoch_are_noticed() -> None:
    records = theirs(4)
    followed, told = following()
    assert followed.hear(EPOCH, records[1:]) == "gap"
    assert told.entries == []
    followed, told = following()
    followed.hear(EPOCH, records[:2])
    assert followed.hear(EPOCH, history([mark_of(OTHER, 8), mark_of(OTHER, 9)])[1:]) == "gap"
    assert followed.hear(EPOCH, history([mark_of(OTHER, n) for n in (7, 8, 9)])[2:]) == "gap"
    assert followed.hear("other-epoch", records[2:]) == "other history"
    assert len(told.entries) == 2


def test_what_is_heard_while_the_log_is_read_makes_it_be_read_further() -> None:
    followed, told = following()
    followed.filling = True
    assert followed.hear(EPOCH, theirs(1)) == "all"
    assert followed.missed
    assert told.entries == []


async def test_own_events_ahead_are_told_once_and_their_places_when_the_history_has_them() -> None:
    followed, told = following()
    marks = [mark_of(OTHER, 1), mark_of(RUN, 1), mark_of(OTHER, 2), mark_of(RUN, 2)]
    records = history([*marks, mark_of(OTHER, 3)])
    followed.hear(EPOCH, records[:1])
    followed.take_ahead(await item(1))
    followed.take_ahead(await item(2))
    assert str(followed.cursor) == f"{records[0].entry.id}-{mark_of(RUN, 2)}"
    followed.hear(EPOCH, records[1:])
    assert told.data == ["1", "own 1", "own 2", "3", "5"]
    ids = [entry.id for entry in told.entries]
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


async def test_an_own_event_that_the_history_has_already_is_not_told_ahead() -> None:
    followed, told = following()
    followed.hear(EPOCH, history([mark_of(RUN, 1)]))
    followed.take_ahead(await item(1))
    assert len(told.entries) == 1
    behind, told = following(Cursor(EPOCH, 9, mark_of(OTHER, 9)), own=4)
    behind.take_ahead(await item(4))
    assert told.entries == []
    behind.take_ahead(await item(5))
    assert told.data == ["own 5"]


async def test_who_begins_alone_is_told_own_events_and_nothing_of_the_history() -> None:
    told = Told()
    followed = Followed("here", told, RUN)
    followed.begin_alone()
    followed.hear(EPOCH, theirs(2))
    followed.take_ahead(await item(1))
    assert told.data == ["own 1"]
    assert told.begun[0].epoch != EPOCH
    followed.lose()
    followed.lose()
    assert told.lost == 1


def test_heads_that_do_not_fit_what_was_heard_are_noticed() -> None:
    records = theirs(3)

    def agrees(epoch: str | None, tip: int, mark: str) -> bool:
        followed, _ = following()
        followed.hear(EPOCH, records)
        head = (epoch.encode() if epoch else None, tip, mark.encode())
        return followed.agrees(followed.place, *head)

    newest = records[-1].mark
    assert agrees(EPOCH, 3, newest)
    assert agrees(EPOCH, 4, mark_of(OTHER, 4))
    assert not agrees(EPOCH, 3, mark_of(OTHER, 4))
    assert not agrees(EPOCH, 2, records[1].mark)
    assert not agrees("other-epoch", 3, newest)
    assert not agrees(None, 0, newest)


def test_what_is_still_missing_at_the_next_comparison_was_lost() -> None:
    followed, _ = following()
    records = theirs(3)
    followed.hear(EPOCH, records[:2])
    head = (EPOCH.encode(), 3, records[2].mark.encode())
    assert followed.agrees(followed.place, *head)
    assert not followed.agrees(followed.place, *head)
