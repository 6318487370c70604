"""Makes password hashing cheap in tests; other tests cover the real cost."""

from __future__ import annotations

from functools import partial

from server.auth import factory
from server.auth.passwords import Cost, Passwords

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)


def install() -> None:
    """Use the cheap hash in this process; server processes that a test starts keep the real one."""
    setattr(factory, "Passwords", partial(Passwords, CHEAP))  # noqa: B010
