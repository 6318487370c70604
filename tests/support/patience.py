"""Gives the stores of a test time: on a busy machine a read of SQLite can take seconds."""

from __future__ import annotations

from server.services.sqlite.client import SqliteClient

# Ten times what a server waits for its file.
WAIT_S = 25.0


def install() -> None:
    """Let each SqliteClient of this process wait this long, unless it is given another limit.

    Server processes that a test starts wait as always.
    """
    limits = SqliteClient.__init__.__kwdefaults__
    limits |= {"write_timeout_s": WAIT_S, "read_timeout_s": WAIT_S}
