"""Objects that a failed test leaves do not end the whole test run: see tests/support/parsing.py."""

from __future__ import annotations

import ast
import gc

SOURCE = "\n".join(f"def f{number}(a, b=1): return a + b * {number}" for number in range(500))


class Parses:
    """Parses source when it is collected, as a task does whose exception was never retrieved."""

    def __init__(self):
        self.itself = self

    def __del__(self):
        ast.parse("1")


def test_an_object_that_is_collected_during_a_parse_does_not_break_it():
    before = gc.get_threshold()
    gc.set_threshold(100, 1, 1)
    try:
        for _ in range(20):
            gc.disable()
            Parses()
            gc.enable()
            ast.parse(SOURCE)
    finally:
        gc.set_threshold(*before)
    assert gc.isenabled()
