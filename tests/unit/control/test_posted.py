"""How a body is parsed: the table of the contract's section 6, for each of the parsers."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.common.errors import BasError, Invalid, InvalidField
from server.control.rules.posted_body import (
    Posted,
    device_of,
    is_key,
    read_lines,
    read_posted,
    read_rows,
    reading_of,
    row_of,
)
from tests.support.bodies import (
    NUMBERS,
    anything,
    bodies,
    measurements,
    says_good,
    tenths_of,
    texts,
    written,
    wrong_options,
)

pytestmark = pytest.mark.sqlite_only("it has no store")
GOOD = '"temp_tenths": 235, "sensor_ok": true'
SIZE = 256 * 1024


def in_array(raw):
    (row,) = read_rows(b"[" + raw + b"]", 1)
    return raised(row)


def in_array_with_another_bad_row(raw):
    """A row beside it that no strict parser accepts: the lenient parser then parses all rows."""
    row, other = read_rows(b"[" + raw + b', {"x": "\\ud800"}]', 2)
    assert other == Posted()
    return raised(row)


def in_line(raw):
    (row,) = read_lines(b"\n" + raw + b"\r\n", 1)
    return raised(row)


def raised(row):
    if isinstance(row, BasError):
        raise row
    return row


READERS = [read_posted, in_array, in_array_with_another_bad_row, in_line]
each_reader = pytest.mark.parametrize("read", READERS)


def said(read, text):
    """What a body is parsed as: temperature, whether it is good, and why not."""
    reading = reading_of(read(text.encode()))
    return reading.temp_tenths, reading.sensor_ok, reading.fault_reason


# Each row of section 6 about the measured value.
TABLE = {
    # `sensor_ok` false, missing or null, with any `temp_tenths` or none.
    '{"sensor_ok": false}': (None, False, ""),
    '{"temp_tenths": null, "sensor_ok": false, "timestamp": 12345}': (None, False, ""),
    '{"temp_tenths": 0, "sensor_ok": false}': (0, False, ""),
    '{"temp_tenths": 235}': (235, False, ""),
    '{"temp_tenths": 235, "sensor_ok": null}': (235, False, ""),
    '{"temp_tenths": 1251, "sensor_ok": false}': (None, False, ""),
    '{"temp_tenths": "x", "sensor_ok": false}': (None, False, ""),
    '{"humidity": 40}': (None, False, ""),
    # `sensor_ok` true, with a `temp_tenths` that is no valid temperature.
    '{"sensor_ok": true}': (None, False, "no_value"),
    '{"temp_tenths": null, "sensor_ok": true}': (None, False, "no_value"),
    '{"temp_tenths": "235", "sensor_ok": true}': (None, False, "no_value"),
    '{"temp_tenths": true, "sensor_ok": true}': (None, False, "no_value"),
    '{"temp_tenths": [235], "sensor_ok": true}': (None, False, "no_value"),
    '{"temp_tenths": 1251, "sensor_ok": true}': (None, False, "out_of_range"),
    '{"temp_tenths": -551, "sensor_ok": true}': (None, False, "out_of_range"),
    '{"temp_tenths": 1250.5, "sensor_ok": true}': (None, False, "out_of_range"),
    '{"temp_tenths": 1e400, "sensor_ok": true}': (None, False, "out_of_range"),
    '{"temp_tenths": -1e400, "sensor_ok": true}': (None, False, "out_of_range"),
    '{"temp_tenths": %s, "sensor_ok": true}' % ("9" * 400): (None, False, "out_of_range"),
    '{"temp_tenths": -%s, "sensor_ok": true}' % ("9" * 5000): (None, False, "out_of_range"),
    # A bare word instead of a value.
    '{"temp_tenths": NaN, "sensor_ok": true}': (None, False, "no_value"),
    '{"temp_tenths": nan, "sensor_ok": true}': (None, False, "no_value"),
    '{"temp_tenths": Infinity, "sensor_ok": true}': (None, False, "no_value"),
    '{"temp_tenths": -Infinity, "sensor_ok": true}': (None, False, "no_value"),
    '{"temp_tenths":inf,"sensor_ok":true}': (None, False, "no_value"),
    '{"temp_tenths":-inf,"sensor_ok":1}': (None, False, "no_value"),
    '{"temp_tenths": 235, "sensor_ok": NaN}': (235, False, ""),
    # With a fraction.
    '{"temp_tenths": 215.0, "sensor_ok": true}': (215, True, ""),
    '{"temp_tenths": 243.7, "sensor_ok": true}': (244, True, ""),
    '{"temp_tenths": -0.5, "sensor_ok": true}': (-1, True, ""),
    '{"temp_tenths": 1250.4, "sensor_ok": true}': (1250, True, ""),
    '{"temp_tenths": 2.35e2, "sensor_ok": true}': (235, True, ""),
    '{"temp_tenths": 1e-400, "sensor_ok": true}': (0, True, ""),
    # `sensor_ok` 0 or 1; a text or anything else.
    '{"temp_tenths": 235, "sensor_ok": 1}': (235, True, ""),
    '{"temp_tenths": 235, "sensor_ok": 0}': (235, False, ""),
    '{"temp_tenths": 235, "sensor_ok": 1.0}': (235, False, ""),
    '{"temp_tenths": 235, "sensor_ok": 2}': (235, False, ""),
    '{"temp_tenths": 235, "sensor_ok": "true"}': (235, False, ""),
    '{"temp_tenths": 235, "sensor_ok": [true]}': (235, False, ""),
    # Of two equal keys the last one counts, as in Python and in the existing server.
    '{"temp_tenths": 300, "temp_tenths": 235, "sensor_ok": false, "sensor_ok": true}': (
        235,
        True,
        "",
    ),
    '{"temp_tenths": 235, "sensor_ok": true, "sensor_ok": false}': (235, False, ""),
    '{"temp_tenths": 235, "temp_tenths": nan, "sensor_ok": true}': (None, False, "no_value"),
}


@each_reader
@pytest.mark.parametrize(("text", "expected"), TABLE.items())
def test_a_body_is_parsed_as_the_contract_says(read, text, expected):
    assert said(read, text) == expected


@each_reader
@given(body=bodies, small=st.booleans())
def test_any_object_becomes_a_reading_or_a_sensor_fault_when_it_has_no_valid_value(
    read, body, small
):
    temp, ok, _ = said(read, written(body, small))
    assert ok is says_good(body)
    expected = tenths_of(body.get("temp_tenths"))
    assert temp == (expected if expected is not None and -550 <= expected <= 1250 else None)


@each_reader
@given(body=measurements, options=wrong_options, small=st.booleans())
def test_an_invalid_optional_field_does_not_change_the_measured_value(read, body, options, small):
    bare = body or {"humidity": 40}
    assert said(read, written(body | options or bare, small)) == said(read, written(bare, small))


OPTIONS = {
    "timestamp": [
        ("12345", 12345),
        ("12345.9", 12345),
        ("-5", -5),
        ("2e3", 2000),
        ('"12345"', None),
        ("true", None),
        ("nan", None),
        ("1e400", None),
        ("9" * 400, None),
        (str(2**53), None),
        ("[]", None),
        ("null", None),
    ],
    "age_ms": [("0", 0), ("1500.7", 1500), ("-1", None), ("inf", None), ('"1"', None)],
    "seq": [("0", 0), ("7", 7), ("7.0", None), ("-1", None), ("true", None), (str(2**53), None)],
    "key": [('"k"', "k"), ('""', None), ('"%s"' % ("k" * 256), None), ("7", None), ("NaN", None)],
}


@each_reader
@pytest.mark.parametrize(
    ("field", "text", "value"),
    [(field, *case) for field, cases in OPTIONS.items() for case in cases],
)
def test_an_invalid_optional_field_is_treated_as_missing(read, field, text, value):
    reading = reading_of(read(f'{{{GOOD}, "{field}": {text}}}'.encode()))
    assert (reading.temp_tenths, reading.sensor_ok) == (235, True)
    assert getattr(reading, field) == value


def test_an_invalid_key_of_a_row_falls_back_to_the_key_of_the_request_and_is_reported():
    for value in (7, "", "k" * 256, "\ud800", ["k"], False):
        reading = reading_of(Posted(key=value), "mine", "near")
        assert (reading.key, reading.near, reading.key_ignored) == ("mine", "near", True)
    reading = reading_of(Posted(key="own"), "mine", "near")
    assert (reading.key, reading.near, reading.key_ignored) == ("own", "", False)
    assert reading_of(Posted(), "mine", "near").key_ignored is False


@pytest.mark.parametrize(
    ("key", "taken"), [("k", True), ("k" * 255, True), ("ü\n", True), ("", False), (None, False)]
)
def test_a_key_has_1_to_255_characters(key, taken):
    assert is_key(key) is taken


@each_reader
@pytest.mark.parametrize(
    "text", ['"nan"', '"-inf NaN"', '"\\"nan"', '"\\\\"', '"a\\\\\\"nan, inf"']
)
@pytest.mark.parametrize("word", ["NaN", "nan", "Infinity", "inf", "-inf"])
def test_bare_words_are_null_as_values_and_unchanged_inside_texts(read, text, word):
    more = f'"key": {text}, "x": [{word}, {{"y": {word}}}], "device_id": {text}'
    posted = read(f"{{{GOOD}, {more}}}".encode())
    assert posted.key == posted.device_id == json.loads(text)


@given(texts, anything)
def test_a_text_is_unchanged_by_parsing_whatever_it_contains(text, more):
    body = {"device_id": text, "humidity": more, "x": float("nan")}
    assert read_posted(written(body, small=True).encode()).device_id == text


@each_reader
@pytest.mark.parametrize("temp", [b"300", b"nan"])
def test_bytes_that_are_no_utf8_spoil_only_the_text_that_contains_them(read, temp):
    raw = b'{"temp_tenths": %b, "sensor_ok": 1, "key": "K\xfcche", "x": ["\xff"]}' % temp
    reading = reading_of(read(raw))
    assert (reading.temp_tenths, reading.key) == (300 if temp == b"300" else None, None)
    assert reading.key_ignored


@each_reader
@pytest.mark.parametrize("digits", NUMBERS)
def test_numbers_of_any_size_are_accepted_in_any_field(read, digits):
    names = Posted.__struct_fields__
    fields = ", ".join(f'"{name}": {digits}' for name in names)
    posted = read(f"{{{fields}}}".encode())
    assert not reading_of(posted).sensor_ok
    with pytest.raises(InvalidField, match="device_id"):
        device_of(posted)


@pytest.mark.parametrize("body", ['{"x": 1}', "[%s]", '{"x": "\\ud800"}'])
def test_a_byte_order_mark_before_a_body_is_ignored(body):
    text = "\ufeff" + body.replace("%s", '{"x": 1}, {"x": nan}')
    if body == "[%s]":
        assert read_rows(text.encode(), 2) == [Posted(), Posted()]
    else:
        assert read_posted(text.encode()) == row_of(text.encode()) == Posted()


@pytest.mark.parametrize("text", ["", " \n", "{}", " { \t} ", "\ufeff{}"])
def test_an_empty_body_and_an_object_without_keys_are_refused_as_no_data(text):
    with pytest.raises(Invalid, match="NO_DATA"):
        read_posted(text.encode())


@pytest.mark.parametrize("raw", [b"[{}]", b"[{ }]", b'[{}, {"x": "\\ud800"}]'])
def test_a_row_without_keys_is_refused_as_no_data(raw):
    assert read_rows(raw, 2)[0].code == "NO_DATA"


NO_OBJECT = ["nan", "null", "7", '"x"', "[]", "[[]]", "{nan: 1}", "{'x': 1}", '{"x": nanx}', "\x00"]


@pytest.mark.parametrize("text", [*NO_OBJECT, "{", '{"x": nan', '{"x": 1} {}', '{"x": +inf}'])
def test_a_body_that_is_no_json_object_is_refused_as_invalid(text):
    for read in (read_posted, in_line):
        with pytest.raises(Invalid, match="INVALID_JSON"):
            read(text.encode())


@pytest.mark.parametrize("device_id", ["", "x" * 129, "a\n", "\x7f", "\ud800", 7, [], True])
def test_an_invalid_device_id_is_refused(device_id):
    with pytest.raises(InvalidField, match="device_id"):
        device_of(Posted(device_id=device_id))


# A body made of one piece repeated to the limit: each must be parsed in linear time.
LONG = ['"', "\\", '{"a":"\\', '\\"', " ", "\n", "-", "nan ", "n", "[", '{"a":', "1", "{", "}", "é"]
AROUND = [
    ("", ""),
    ("", "x"),
    ('{"a":"', ""),
    ('{"a":', "}"),
    ("", '{"a":1}'),
    ("{", "x"),
    ("[", "]"),
]


@pytest.mark.parametrize("piece", LONG)
@pytest.mark.parametrize(("before", "after"), AROUND)
def test_no_repetitive_body_hangs_or_crashes_a_parser(piece, before, after):
    raw = (before + piece * (SIZE // len(piece.encode())) + after).encode()
    for read in (read_posted, row_of, lambda raw: read_rows(raw, 1000)):
        with contextlib.suppress(Invalid):
            read(raw)
