"""Keeps garbage from being collected within `ast.parse`, which pytest and Hypothesis call often.

A finalizer may log a traceback, as that of a task does whose exception nobody has asked for (a
failing test leaves one), and Python 3.11 calls `ast.parse` to format it. Before 3.11.8 the outer
call then raises SystemError, "AST constructor recursion depth mismatch" (gh-106905), which is an
INTERNALERROR to pytest and the end of the run.
"""

from __future__ import annotations

import ast
import gc
from collections.abc import Callable
from functools import wraps
from typing import Any


def undisturbed(parse: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, in which nothing is collected."""

    @wraps(parse)
    def parse_alone(*args: Any, **kwargs: Any) -> Any:
        collects = gc.isenabled()
        gc.disable()
        try:
            return parse(*args, **kwargs)
        finally:
            if collects:
                gc.enable()

    return parse_alone


def install() -> None:
    """Do this for the rest of the process."""
    if not hasattr(ast.parse, "__wrapped__"):
        ast.parse = undisturbed(ast.parse)
