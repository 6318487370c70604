"""Makes log-ins cheap in tests; other tests cover the real cost, and the time of a refusal."""

from __future__ import annotations

from functools import partial

from server.auth import factory, login
from server.auth.passwords import Cost, Passwords

CHEAP = Cost(memory_kib=8, passes=1, lanes=1)
REFUSAL_S, SHORT_S = login.REFUSAL_S, 0.01


def install() -> None:
    """Use the cheap hash in this process, and refuse soon.

    Server processes that a test starts keep the real ones.
    """
    setattr(factory, "Passwords", partial(Passwords, CHEAP))  # noqa: B010
    login.REFUSAL_S = SHORT_S
