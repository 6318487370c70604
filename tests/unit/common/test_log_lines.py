"""LogLines, JsonLines: one record is one line."""

from __future__ import annotations

import json
import logging
import os
import re

import pytest

from server.common.log_lines import JsonLines, LogLines
from server.common.request_id import current_request, is_request_id


def line(message, *about, exc_info=None):
    record = logging.LogRecord("server.x", logging.WARNING, "", 1, message, about, exc_info)
    return LogLines().format(record)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nERROR forged", r"a\nERROR forged"),
        ("a\r\nb", r"a\r\nb"),
        ("a\x85b\u2028c\u2029d", r"a\x85b\u2028c\u2029d"),
        ("\x1b[2J\x00", r"\x1b[2J\x00"),
        ("lab\u202egnp.exe", r"lab\u202egnp.exe"),
        ("\ud800", r"\ud800"),
    ],
)
def test_a_message_is_one_line_that_no_terminal_obeys(text, shown):
    """ASVS 5.0.0 V16.4.1: data is encoded, so that log lines cannot be forged."""
    assert line("GET /%s failed", text).endswith(f" WARNING server.x GET /{shown} failed")
    assert line("GET /%s failed", text).isprintable()


def test_a_message_that_prints_is_not_changed():
    assert line("%s was refused", "Büro 'Süd' \\n 21 °C").endswith(
        r"Büro 'Süd' \n 21 °C was refused"
    )


def test_a_traceback_still_has_its_lines():
    try:
        raise ValueError("broken")
    except ValueError as error:
        text = line("x", exc_info=(ValueError, error, error.__traceback__))
    first, *rest = text.splitlines()
    assert first.endswith("server.x x")
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "ValueError: broken"


def test_a_line_of_a_request_has_its_id_and_no_other_line_has():
    token = current_request.set("abc-1")
    try:
        assert line("x").endswith(" WARNING server.x [abc-1] x")
        assert json_line("x")["request_id"] == "abc-1"
    finally:
        current_request.reset(token)
    assert line("x").endswith(" WARNING server.x x")
    assert "request_id" not in json_line("x")


def json_line(message, *about, exc_info=None):
    record = logging.LogRecord("server.x", logging.WARNING, "", 1, message, about, exc_info)
    text = JsonLines().format(record)
    assert text.isprintable()
    return json.loads(text)


def test_a_json_line_has_the_time_the_level_and_the_message():
    fields = json_line("%s\nforged \ud800", "a\r\n")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields.pop("time"))
    assert fields == {
        "level": "warning",
        "logger": "server.x",
        "pid": os.getpid(),
        "message": "a\r\n\nforged \ud800",
    }


def test_a_traceback_is_a_field_of_a_json_line():
    try:
        raise ValueError("broken")
    except ValueError as error:
        fields = json_line("x", exc_info=(ValueError, error, error.__traceback__))
    assert fields["traceback"].endswith("ValueError: broken")


@pytest.mark.parametrize("text", ["a", "A-z_0.9:", "x" * 64])
def test_a_short_word_may_be_a_request_id(text):
    assert is_request_id(text)


@pytest.mark.parametrize("text", ["", "x" * 65, "a b", "a\n", 'a"', "[a]", "é", "a/b"])
def test_no_other_text_may_be_a_request_id(text):
    assert not is_request_id(text)
