"""Turns the garbage collector off during `ast.parse`, which pytest and Hypothesis call often.

A finalizer may log a traceback: a failing test can leave a task whose exception nobody retrieved.
Python 3.11 calls `ast.parse` to format that traceback. Before 3.11.8 the outer call then raises
SystemError, "AST constructor recursion depth mismatch" (gh-106905), which pytest reports as an
INTERNALERROR and ends the run.
"""

from __future__ import annotations

import ast
import gc
from collections.abc import Callable
from functools import wraps
from typing import Any


def undisturbed(parse: Callable[..., Any]) -> Callable[..., Any]:
    """The same function with the garbage collector off."""

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
    """Replace `ast.parse` in this process."""
    if not hasattr(ast.parse, "__wrapped__"):
        ast.parse = undisturbed(ast.parse)
