"""Tests with a short form, for every run, and a long form, for a drill."""

from __future__ import annotations

import os

LONG_FORM = "BAS_TEST_LONG"


def amount(short: int, long: int) -> int:
    """`long` when a script of scripts/drills/ runs the test, otherwise `short`."""
    return long if is_long() else short


def is_long() -> bool:
    """Whether a script of scripts/drills/ runs the test."""
    return bool(os.environ.get(LONG_FORM))
