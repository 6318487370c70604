"""Compiles the URL builder of each rule once per process, not once for the app of each test.

Werkzeug generates two functions for each rule and compiles them: 20 ms for the whole app, which is
most of the time that a test's container takes to start. They depend only on the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from werkzeug.routing import Rule

Build = Callable[..., tuple[str, str]]
Compile = Callable[..., Build]


def remembering(compile_builder: Compile) -> Compile:
    """The same method with a cache of the functions that it has compiled."""
    known: dict[tuple[Any, ...], Build] = {}

    @wraps(compile_builder)
    def compile_once(rule: Rule, append_unknown: bool = True) -> Build:
        if rule.defaults:
            return compile_builder(rule, append_unknown)
        key = rule.rule, tuple(rule._trace), append_unknown
        if key not in known:
            known[key] = compile_builder(rule, append_unknown)
        return known[key]

    return compile_once


def install() -> None:
    """Replace Werkzeug's method in this process."""
    if not hasattr(Rule._compile_builder, "__wrapped__"):
        setattr(Rule, "_compile_builder", remembering(Rule._compile_builder))  # noqa: B010
