"""InfluxDB's line protocol becomes the rows of a batch."""

from __future__ import annotations

import pytest

from server.common.errors import BasError, TooLarge
from server.control.rules.line_protocol import read_lines_of
from server.control.rules.posted_body import reading_of


def rows(text, field="temperature", tag="device_id", precision="ns"):
    return read_lines_of(text.encode(), field, tag, precision, 3)


@pytest.mark.parametrize(
    ("line", "device_id", "temp_tenths"),
    [
        ("attic temperature=21.5", "attic", 215),
        ("attic,host=pi temperature=21i", "attic", 210),
        ("room,device_id=attic,host=pi temperature=-0.05", "attic", -1),
        (r"my\ room\,\ north,a=b temperature=2e1", "my room, north", 200),
        (r'a,device_id=x\=y note="a, \"b\" temperature=3",temperature=4u', "x=y", 40),
        (r"room,device_id=c:\dir temperature=1", r"c:\dir", 10),
    ],
)
def test_a_line_names_its_device_by_the_tag_or_else_by_the_measurement(
    line, device_id, temp_tenths
):
    (row,) = rows(line)
    assert (row.device_id, reading_of(row).temp_tenths) == (device_id, temp_tenths)
    assert reading_of(row).sensor_ok


@pytest.mark.parametrize(
    "fields",
    [
        *('temperature="21"', "temperature=true", "temperature=NaN", "temperature=1e999"),
        *("temperature=21,sensor_ok=false", 'temperature=21,sensor_ok="true"', "temperature=999"),
    ],
)
def test_a_value_that_is_no_temperature_is_a_fault(fields):
    (row,) = rows(f"attic {fields}")
    assert not reading_of(row).sensor_ok


@pytest.mark.parametrize(
    ("precision", "time"),
    [("ns", "1790000000123456789"), ("us", "1790000000123456"), ("ms", "1790000000123")],
)
def test_a_timestamp_is_in_the_precision_of_the_query(precision, time):
    (row,) = rows(f"attic temperature=1 {time}", precision=precision)
    assert row.timestamp == 1790000000123
    (row,) = rows("attic temperature=1 1790000000", precision="s")
    assert row.timestamp == 1790000000000


def test_only_lines_with_the_field_are_read_and_comments_are_not():
    found = rows("# temperature=1\n\ncpu idle=3\r\nattic t=1,temperature=9\r\n", field="t")
    assert [(row.device_id, row.temp_tenths) for row in found] == [("attic", 10.0)]


@pytest.mark.parametrize("text", ["", "\n# a\n", "cpu idle=3"])
def test_a_body_without_the_field_has_no_data(text):
    with pytest.raises(BasError, match="NO_DATA"):
        rows(text)


@pytest.mark.parametrize(
    "line",
    [
        *("attic", "attic temperature", "attic temperature=", ",a=b temperature=1", "a=b c"),
        *("attic,zone temperature=1", 'attic temperature="1', "attic temperature=1 noon"),
        *("attic temperature=1 " + "9" * 20, "attic temperature=1,", "a" * 100_000, "a,b=" * 9000),
        *("\\" * 50_001, 'a b="' * 9000, "a b=1," * 9000),
    ],
)
def test_a_line_that_is_no_line_protocol_is_refused_alone(line):
    wrong, good = rows(f"{line}\nattic temperature=1")
    assert isinstance(wrong, BasError)
    assert wrong.code == "INVALID_LINE"
    assert len(wrong.message) < 200
    assert good.temp_tenths == 10


def test_a_line_without_the_tag_of_the_query_is_refused():
    (wrong,) = rows("attic,host=pi temperature=1", tag="zone")
    assert wrong.code == "INVALID_LINE"


def test_too_many_readings_are_too_large_so_that_telegraf_halves_them():
    with pytest.raises(TooLarge):
        rows("attic temperature=1\n" * 4)
