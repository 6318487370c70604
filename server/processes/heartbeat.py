"""Heartbeat: calls a URL of somebody else's, who raises an alarm when the calls stop."""

from __future__ import annotations

import logging
import threading
import time
from urllib.parse import urlsplit

from server.common.version import VERSION

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0


class Heartbeat:
    """Calls `url` once for each `beat`, in a thread: no name server and no peer holds the loop up.

    Of calls that fail one after another the first is logged, and the first that succeeds again. The
    log shows no more of the URL than its host, since the rest is often a password.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._host = urlsplit(url).hostname
        self._thread: threading.Thread | None = None
        self._failing_since: float | None = None

    def beat(self) -> None:
        """Begin a call, unless the one before has not ended yet."""
        if self._thread is not None and self._thread.is_alive():
            self._failed("the call of a minute ago has not ended")
            return
        # A daemon: the process does not wait for it when it stops.
        self._thread = threading.Thread(target=self._call, name="heartbeat", daemon=True)
        self._thread.start()

    def _call(self) -> None:
        # Imported here: it takes megabytes, and most sites have no such URL.
        from http.client import HTTPException
        from urllib.request import Request, urlopen

        asked = Request(self._url, headers={"User-Agent": f"bas-server/{VERSION}"})  # noqa: S310
        try:
            with urlopen(asked, timeout=TIMEOUT_S):  # noqa: S310 - the setting is a http(s) URL
                pass
        except (OSError, HTTPException, ValueError) as error:
            self._failed(str(getattr(error, "reason", "") or type(error).__name__))
            return
        if self._failing_since is not None:
            lasted_s = time.monotonic() - self._failing_since
            self._failing_since = None
            log.warning("%s of BAS_HEARTBEAT_URL answers again, after %.0f s", self._host, lasted_s)

    def _failed(self, why: str) -> None:
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            log.error(
                "%s of BAS_HEARTBEAT_URL was not reached (%s): it may report this server as dead."
                " Look at the URL and at the network; each further minute is another attempt",
                self._host,
                why,
            )
