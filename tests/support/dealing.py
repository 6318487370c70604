"""Distributes tests over the processes of a parallel run: all browser tests go to one process.

The groups of xdist do not work with pytest 9.2: xdist 3.8.0 writes a test's group into a name
that pytest no longer reads.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

ONE_PROCESS, FAST = "tests/e2e/", "tests/unit/"


class Dealing(LoadScopeScheduling):
    """Gives each test to the next free process, all browser tests to one process, and the pure
    tests file by file: giving one away takes longer than running it."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(ONE_PROCESS):
            return ONE_PROCESS
        return nodeid.partition("::")[0] if nodeid.startswith(FAST) else nodeid


def begin_long_ones(items: list[pytest.Item]) -> None:
    """Put the tests marked `long` first: one that begins last keeps one process busy alone."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
