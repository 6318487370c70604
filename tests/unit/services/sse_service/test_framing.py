"""Events and their bytes: a browser reads an event as it was published, or it is refused."""

from __future__ import annotations

import re

import httpx
import httpx_sse
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.services.ports.event_log import DATA_MAX_BYTES, Event, InvalidEvent
from server.services.sse_service.event import (
    COMMENT,
    LINE_MAX_BYTES,
    control_frame,
    encode,
    name_line_length,
    retry_frame,
)

ID = "abcdefgh1234-7"


def read_back(wire: bytes) -> list[httpx_sse.ServerSentEvent]:
    """The events that an independent client reads: httpx-sse ends lines at CRLF, CR and LF only, as
    the standard says."""
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=wire)
    return list(httpx_sse.EventSource(response).iter_sse())


def as_the_standard_says(data: str) -> str:
    """A browser turns CR and CRLF into LF; all other characters arrive unchanged."""
    return re.sub("\r\n|\r", "\n", data)


DATA = {
    "plain": "hello",
    "json": '{"temp_tenths":235,"device_id":"a b"}',
    "json_with_escaped_line_ends": '{"text":"one\\ntwo\\rthree"}',
    "empty": "",
    "lf": "one\ntwo",
    "cr": "one\rtwo",
    "crlf": "one\r\ntwo",
    "mixed_line_ends": "one\ntwo\rthree\r\nfour\n\rfive\r\r\nsix",
    "trailing_lf": "one\n",
    "trailing_cr": "one\r",
    "trailing_crlf": "one\r\n",
    "leading_lf": "\none",
    "only_lf": "\n",
    "only_crlf": "\r\n",
    "blank_lines": "one\n\n\ntwo",
    "end_of_frame_inside": "one\n\nid: evil\ndata: two\n\n",
    "field_names_inside": "event: open\nid: 5\nretry: 1\n: comment",
    "line_separator": "one\u2028two",
    "paragraph_separator": "one\u2029two",
    "next_line": "one\u0085two",
    "vertical_tab": "one\vtwo",
    "form_feed": "one\ftwo",
    "file_and_group_separators": "one\x1ctwo\x1dthree\x1efour",
    "leading_space": " one",
    "two_leading_spaces": "  one\n  two",
    "trailing_space": "one ",
    "tab": "\tone\t",
    "colon_first": ":one",
    "only_colon": ":",
    "colons": "a: b: c",
    "bom_first": "\ufeffone",
    "bom_inside": "one\ufefftwo",
    "emoji": "🌡️ 23.5 °C 👩‍🔬",
    "beyond_the_basic_plane": "\U0010ffff",
    "noncharacter": "\uffff",
    "nul": "one\x00two",
    "right_to_left": "\u202eone",
    "one_very_long_line": "x" * DATA_MAX_BYTES,
    "very_many_lines": "\n" * 50_000,
    "just_within_the_limit_in_bytes": "ä" * (DATA_MAX_BYTES // 2),
}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
def test_data_are_read_back_as_they_were_published(data: str) -> None:
    event = Event("telemetry", data)
    (read,) = read_back(COMMENT + encode(event, ID))
    assert read.data == as_the_standard_says(data)
    assert read.event == "telemetry"
    assert read.id == ID
    assert read.retry is None


@pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
def test_a_frame_does_not_change_the_frames_around_it(data: str) -> None:
    wire = b"".join(
        encode(Event("telemetry", text), f"abcdefgh-{n}")
        for n, text in enumerate(["before", data, "after"])
    )
    assert [(event.data, event.id) for event in read_back(wire)] == [
        ("before", "abcdefgh-0"),
        (as_the_standard_says(data), "abcdefgh-1"),
        ("after", "abcdefgh-2"),
    ]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_read_back_as_it_was_published(data: str) -> None:
    (read,) = read_back(COMMENT + encode(Event("telemetry", data), ID))
    assert read.data == as_the_standard_says(data)


@given(st.text(alphabet="a \r\n:\ufeff\u2028\x85\v\f\0", max_size=12))
def test_any_text_of_awkward_characters_is_read_back_as_it_was_published(data: str) -> None:
    (read,) = read_back(COMMENT + encode(Event("telemetry", data), ID))
    assert read.data == as_the_standard_says(data)


def test_the_bytes_contain_no_line_end_but_lf() -> None:
    wire = encode(Event("telemetry", "one\rtwo\r\nthree"), ID)
    assert wire == f"event: telemetry\nid: {ID}\ndata: one\ndata: two\ndata: three\n\n".encode()


NAMES = ["telemetry", "setpoint", "x", "with space", "a:b", ": odd", " lead", "üñï", "opened", "🌡"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_back_as_it_was_published(name: str) -> None:
    (read,) = read_back(encode(Event(name, "x"), ID))
    assert read.event == name


@pytest.mark.parametrize("name", NAMES)
def test_without_its_name_line_a_frame_is_an_unnamed_message(name: str) -> None:
    event = Event(name, "one\ntwo")
    (read,) = read_back(encode(event, ID)[name_line_length(event) :])
    assert (read.event, read.data, read.id) == ("message", "one\ntwo", ID)


@pytest.mark.parametrize("name", ["", "a\nb", "a\rb", "a\r\nb", "\n", "a\x00b", "\x00"])
def test_a_name_that_would_break_the_frame_is_refused(name: str) -> None:
    with pytest.raises(InvalidEvent):
        Event(name, "x")


@pytest.mark.parametrize("name", ["open", "error"])
def test_a_name_that_event_source_itself_uses_is_refused(name: str) -> None:
    with pytest.raises(InvalidEvent, match=name):
        Event(name, "x")


@pytest.mark.parametrize("text", ["\ud800", "one\udfff", "\udc80two"])
def test_lone_surrogates_are_refused_in_names_and_data(text: str) -> None:
    with pytest.raises(InvalidEvent, match="UTF-8"):
        Event("telemetry", text)
    with pytest.raises(InvalidEvent, match="UTF-8"):
        Event(text, "x")


@pytest.mark.parametrize("data", ["x" * (DATA_MAX_BYTES + 1), "ä" * (DATA_MAX_BYTES // 2) + "x"])
def test_data_beyond_the_limit_in_bytes_is_refused(data: str) -> None:
    with pytest.raises(InvalidEvent, match=f"{DATA_MAX_BYTES} is the limit"):
        Event("telemetry", data)


@pytest.mark.parametrize("event_id", ["x", "0", "a.b_c~d-e", "A" * 128, ID])
def test_an_id_is_read_back_as_it_was_given(event_id: str) -> None:
    (read,) = read_back(encode(Event("telemetry", "x"), event_id))
    assert read.id == event_id


@pytest.mark.parametrize(
    "event_id",
    ["", "a\nb", "a\rb", "a\r\nb", "a\x00b", "a b", " a", "a:b", "ä", "a\n", "A" * 129, "a,b"],
)
def test_an_id_that_a_header_could_not_carry_is_refused(event_id: str) -> None:
    with pytest.raises(InvalidEvent):
        encode(Event("telemetry", "x"), event_id)


@pytest.mark.parametrize("retry_ms", [0, 1, 1000, 4999, 10**9])
def test_a_retry_consists_of_digits_only(retry_ms: int) -> None:
    wire = retry_frame(retry_ms)
    assert re.fullmatch(rb"retry: [0-9]+\n\n", wire)
    (read,) = read_back(wire)
    assert read.retry == retry_ms


def test_a_control_frame_has_a_name_and_data_and_optionally_an_id_and_a_retry() -> None:
    (bare,) = read_back(control_frame("heartbeat", b'{"ts":1}'))
    assert (bare.event, bare.data, bare.id, bare.retry) == ("heartbeat", '{"ts":1}', "", None)
    (full,) = read_back(control_frame("bye", b"{}", ID, 1234))
    assert (full.event, full.data, full.id, full.retry) == ("bye", "{}", ID, 1234)


def test_the_comment_at_the_start_of_a_stream_is_no_event_and_protects_a_bom() -> None:
    # A decoder may drop a BOM at the very beginning, and only there.
    wire = COMMENT + b"data: \xef\xbb\xbfx\n\n"
    assert COMMENT.startswith(b":")
    (read,) = read_back(wire)
    assert read.data == "\ufeffx"


@pytest.mark.parametrize("count", [0, 1, 17, 2570])
def test_a_snapshot_of_any_size_is_read_back_and_has_no_line_over_60_kib(count: int) -> None:
    hostile = ["},{", '},{"device_id":', "\n", "[{", "\\", '"', "ä"]
    zones = [
        {"device_id": hostile[number % 7] * (1 + number % 90), "trust": {"device_id": hostile[0]}}
        for number in range(count)
    ]
    frame = control_frame("snapshot", msgspec.json.encode({"zones": zones}), ID)
    lines = frame.splitlines()
    assert max(map(len, lines)) <= LINE_MAX_BYTES + len("data: ")
    assert len(lines) <= 5 + len(frame) / (LINE_MAX_BYTES - 1000)  # they are filled
    (event,) = read_back(frame)
    assert event.json() == {"zones": zones}


def test_a_zone_that_is_longer_than_a_line_stays_whole() -> None:
    zones = [{"device_id": "x" * LINE_MAX_BYTES}, {"device_id": "y"}, {"device_id": "z"}]
    frame = control_frame("snapshot", msgspec.json.encode({"zones": zones}))
    assert [line[:30].count(b"device_id") for line in frame.splitlines()] == [0, 1, 1, 0]
    (event,) = read_back(frame)
    assert event.json() == {"zones": zones}
    (alone,) = read_back(control_frame("hello", b'"' + b"x" * LINE_MAX_BYTES + b'"'))
    assert len(alone.json()) == LINE_MAX_BYTES
