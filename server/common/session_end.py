"""SessionEnd: when a session ends, as its streams say."""

from __future__ import annotations

from typing import NamedTuple


class SessionEnd(NamedTuple):
    """The end of a session, in Unix milliseconds by the clock as it is set now.

    `extendable` says whether a person's next request moves it; it does not once the session has
    nearly reached its longest life.
    """

    expire_at: int
    extendable: bool
