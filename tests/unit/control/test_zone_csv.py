"""Zones as CSV: what is written is read again, and nothing in it is a formula."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.common.errors import Invalid
from server.control.zones import csv_file
from server.control.zones.csv_file import ZoneRow, lines_of, read_lines_of, tenths

ASCII = st.characters(min_codepoint=32, max_codepoint=126)
texts = st.text(st.one_of(ASCII, st.sampled_from("=+-@'\";,\u00fc\U0001f600")), max_size=20)
rows = st.lists(st.tuples(texts.filter(bool), texts, texts), max_size=5)


@given(rows)
def test_a_written_file_is_read_again_and_has_no_formulas(found):
    text = "".join(lines_of(ZoneRow(*row, 215, 10, 80, -25) for row in found))
    assert [tuple(line)[1:] for line in read_lines_of(text)] == [
        (*row, "21.5", "1.0", "8.0", "-2.5") for row in found
    ]
    for cells in list(csv.reader(io.StringIO(text, newline="")))[1:]:
        assert not any(re.match(r"\s*[=+\-@]", one) for one in cells[:3])


def test_columns_may_be_missing_in_any_order_and_between_semicolons():
    text = "\ufeffSetpoint_C;device_id\r\n21,5;lab\r\n\r\n;shed\r\n"
    first, second = read_lines_of(text)
    assert first == (2, "lab", None, None, "21,5", None, None, None)
    assert (second.number, second.device_id, second.setpoint_c) == (4, "shed", "")


@pytest.mark.parametrize(
    "text",
    [
        *("", "lab,Lab\n", "name\nx\n", "device_id,colour\n", "device_id,device_id\n"),
        *("device_id,name\nlab\n", "device_id,name\nlab,a,b\n", 'device_id\n"lab\n'),
        "device_id\n" + "x" * 200_000,
    ],
)
def test_a_file_that_is_no_such_csv_is_refused(text):
    with pytest.raises(Invalid):
        read_lines_of(text)


def test_a_file_has_a_longest_length(monkeypatch):
    monkeypatch.setattr(csv_file, "ROWS_MAX", 2)
    assert len(read_lines_of("device_id\na\nb\n")) == 2
    with pytest.raises(Invalid):
        read_lines_of("device_id\na\nb\nc\n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("21.5", 215),
        (" 21 ", 210),
        ("0,50", 5),
        ("21.55", None),
        ("-1", -10),
        ("--1", None),
        ("x", None),
    ],
)
def test_degrees_have_at_most_one_decimal(text, value):
    assert tenths(text) == value
