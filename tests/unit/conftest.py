"""The tests of this folder compute only: a test that opens anything fails.

Tests that need SQLite, sockets, threads or processes belong in tests/component/.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

FORBIDDEN = {
    "_thread.start_new_thread",
    "socket.bind",
    "socket.connect",
    "sqlite3.connect",
    "subprocess.Popen",
}

_opened: list[str] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event in FORBIDDEN:
        _opened.append(event)


sys.addaudithook(_note)


@pytest.fixture(autouse=True)
def pure() -> Iterator[None]:
    """Fails a test that belongs in tests/component/."""
    _opened.clear()
    yield
    assert not _opened, f"{sorted(set(_opened))}: this test belongs in tests/component/"
