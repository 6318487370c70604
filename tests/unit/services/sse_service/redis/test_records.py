"""An event that is sent to Redis comes back unchanged, and an invalid record is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.services.ports.event_log import Cursor, Event, InvalidEvent
from server.services.site.redis_keys import channel_name, head_key
from server.services.sse_service.event import make_entry
from server.services.sse_service.redis.history_check import Damaged, entries_for, records_after
from server.services.sse_service.redis.records import (
    Record,
    id_entry,
    mark_of,
    origin,
    parse_records,
    parts_of,
    renamed,
)
from server.services.sse_service.redis.scripts import START_MARK

RUN, OTHER = "0123456789ab", "ba9876543210"
EPOCH = "abcdefabcdef"


def record(position: int, mark: str, before: str = "", device_id: str | None = None) -> Record:
    cursor = Cursor(EPOCH, position, mark)
    return Record(make_entry(Event("telemetry", f"{position}", device_id), cursor), mark, before)


def sent(records: list[Record]) -> bytes:
    """The records as the script in Redis writes them."""
    lines = b""
    for item in records:
        entry = item.entry
        device = parts_of(Event("x", "", entry.device_id))[2].decode()
        about = [entry.position, item.mark, item.before, entry.name_length, len(entry.frame)]
        lines += " ".join(map(str, [*about, device])).encode() + b"\n" + entry.frame
    return lines


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\n"), min_size=1)


@given(name=texts, data=st.text(st.characters(exclude_categories=["Cs"])), device=st.none() | texts)
def test_any_event_comes_back_with_the_same_device_and_bytes(
    name: str, data: str, device: str | None
) -> None:
    try:
        event = Event(name, data, device)
    except InvalidEvent:
        return
    cursor = Cursor(EPOCH, 7, mark_of(RUN, 12))
    before, after, *_ = parts_of(event)
    entry = make_entry(event, cursor)
    assert before + str(cursor).encode() + after == entry.frame
    (back,) = parse_records(sent([Record(entry, cursor.mark, START_MARK)]))
    assert back == Record(entry, cursor.mark, START_MARK)
    assert back.entry.id == str(cursor)


@given(st.lists(st.tuples(st.integers(1, 99), st.sampled_from([None, "a b", "ä", "*"]))))
def test_several_records_in_one_message_are_parsed_separately(items) -> None:
    records = [record(position, mark_of(RUN, position), "b", d) for position, d in items]
    assert parse_records(sent(records)) == records


@pytest.mark.parametrize("text", [b"x", b"1 2 3\n", b"1 m b x 4 *\nabcd", b"\xff\n", b"\n"])
def test_an_invalid_record_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_records(text)


@pytest.mark.parametrize("mark", ["", "short", RUN, RUN + "x", RUN + "١", START_MARK[:-1]])  # noqa: RUF001
def test_an_invalid_mark_has_no_origin(mark: str) -> None:
    assert origin(mark) == ("", 0)


def test_the_origin_of_a_mark_is_its_producer_and_number() -> None:
    assert origin(mark_of(RUN, 1234)) == (RUN, 1234)


def test_a_renamed_entry_differs_only_in_its_id() -> None:
    entry = record(3, mark_of(RUN, 3)).entry
    cursor = Cursor(EPOCH, 3, mark_of(RUN, 3), mark_of(OTHER, 9))
    new = renamed(entry, cursor)
    assert new.id == str(cursor)
    assert new.frame.replace(str(cursor).encode(), entry.id.encode()) == entry.frame
    assert id_entry(cursor).id == str(cursor)


@pytest.mark.parametrize(
    ("one", "two"),
    [("a", "b"), ("a}", "a"), ("a}:x", "a"), ("a:head", "a"), ("{a}", "a"), ("", "}")],
)
def test_no_tenant_s_name_makes_another_tenant_s_keys(one: str, two: str) -> None:
    assert {head_key(one), channel_name(one)}.isdisjoint({head_key(two), channel_name(two)})
    for tenant in (one, two):
        inside = head_key(tenant).split("{", 1)[1].split("}", 1)[0]
        assert head_key(tenant) == f"bas:{{{inside}}}:head"


def history(marks: list[str]) -> list[Record]:
    """Records at positions 1, 2, … with these marks."""
    befores = [START_MARK, *marks]
    return [record(n, mark, befores[n - 1]) for n, mark in enumerate(marks, 1)]


def answer(records: list[Record], start: int = 0) -> list[bytes | None]:
    """The answer of Redis to a read from position `start`."""
    tip, mark = (records[-1].entry.position, records[-1].mark) if records else (0, START_MARK)
    kept = [sent([item]) for item in records if item.entry.position >= start]
    return [EPOCH.encode(), str(tip).encode(), mark.encode(), b"0", *kept]


MARKS = [mark_of(RUN, n) for n in range(1, 6)]


def test_the_records_after_a_cursor_are_returned_and_none_after_the_tip() -> None:
    records = history(MARKS)
    assert records_after(answer(records), Cursor(EPOCH, 0, START_MARK)) == records
    assert records_after(answer(records, 2), Cursor(EPOCH, 2, MARKS[1])) == records[2:]
    assert records_after(answer(records, 5), Cursor(EPOCH, 5, MARKS[4])) == []


def test_a_cursor_is_known_while_the_event_after_it_is_kept() -> None:
    records = history(MARKS)
    trimmed = answer(records, 3)
    assert records_after(trimmed, Cursor(EPOCH, 2, MARKS[1])) == records[2:]
    assert records_after(trimmed, Cursor(EPOCH, 1, MARKS[0])) is None


@pytest.mark.parametrize(
    "cursor",
    [
        Cursor("another-one", 2, MARKS[1]),
        Cursor(EPOCH, 6, MARKS[4]),
        Cursor(EPOCH, 5, MARKS[3]),
        Cursor(EPOCH, 2, mark_of(OTHER, 2)),
        Cursor(EPOCH, 0, MARKS[0]),
        Cursor(EPOCH, 2),
    ],
    ids=str,
)
def test_a_cursor_with_another_mark_epoch_or_position_is_unknown(cursor: Cursor) -> None:
    assert records_after(answer(history(MARKS), cursor.position), cursor) is None


def test_a_history_with_a_missing_or_invalid_record_is_damaged() -> None:
    holed = [item for item in history(MARKS) if item.entry.position != 4]
    with pytest.raises(Damaged):
        records_after(answer(holed), Cursor(EPOCH, 2, MARKS[1]))
    rubbish = [*answer(history(MARKS))[:4], b"rubbish"]
    with pytest.raises(Damaged):
        records_after(rubbish, Cursor(EPOCH, 2, MARKS[1]))
    assert records_after([None, None, None, b"0"], Cursor(EPOCH, 0, START_MARK)) is None


def test_only_the_offsets_are_sent_of_events_that_a_client_got_ahead() -> None:
    marks = [mark_of(RUN, 1), mark_of(OTHER, 1), mark_of(RUN, 2), mark_of(OTHER, 2)]
    records = history(marks)
    entries = entries_for(Cursor(EPOCH, 0, START_MARK, ahead=marks[2]), records, 9)
    ids = [Cursor(EPOCH, n, mark) for n, mark in enumerate(marks, 1)]
    behind = [str(cursor) + f"-{marks[2]}" for cursor in ids[:2]]
    assert [entry.id for entry in entries] == [*behind, str(ids[2]), str(ids[3])]
    assert [b"data:" in entry.frame for entry in entries] == [False, True, False, True]
    assert entries[3] is records[3].entry


def test_at_the_tip_all_events_that_a_client_got_ahead_are_behind_it() -> None:
    records = history(MARKS)
    stale = Cursor(EPOCH, 3, MARKS[2], ahead=mark_of(OTHER, 1))
    entries = entries_for(stale, records[3:], 5)
    ids = [record.entry.id for record in records[3:]]
    assert [entry.id for entry in entries] == [f"{ids[0]}-{mark_of(OTHER, 1)}", ids[1]]
    (only,) = entries_for(Cursor(EPOCH, 5, MARKS[4], ahead=mark_of(OTHER, 1)), [], 5)
    assert (only.id, b"data:" in only.frame) == (ids[1], False)
    assert entries_for(Cursor(EPOCH, 5, MARKS[4]), [], 5) == []
