"""LoginLines: the log lines of log-ins."""

from __future__ import annotations

import logging
from collections.abc import Callable

from server.common.seldom import Ration

log = logging.getLogger(__name__)

# Strangers who guess passwords must not fill the disk with lines; the audit log has each guess.
LINES_MAX, LINES_S = 10, 60.0


class LoginLines:
    """A name without an account is not shown: some people type their password into that field."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._failures = Ration(LINES_MAX, LINES_S, monotonic)

    def succeeded(self, username: str, tenant_id: str, address: str) -> None:
        log.info("user %r of tenant %r logged in from %s", username, tenant_id, address)

    def failed(self, username: str | None, address: str) -> None:
        """A wrong password, or with None a name without an account."""
        if rest := self._failures.rest():
            log.warning("%d more log-ins failed: the audit log has all of them", rest)
        if self._failures.may_log((username, address), address):
            why = f"wrong password of user {username!r}" if username else "there is no such user"
            log.warning("a log-in from %s failed: %s", address, why)

    def locked(self, username: str | None, failures: int, address: str) -> None:
        """The failure that locked the name for strangers."""
        if self._failures.may_log(("locked", username), address):
            name = f"user {username!r}" if username else "a name without an account"
            text = "%s is locked after %d failed log-ins, the last one from %s"
            log.warning(text, name, failures, address)
