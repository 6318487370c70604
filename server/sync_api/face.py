"""Face: the base of the sync faces; it has the bridge and turns errors into empty answers."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from server.common.errors import BasError
from server.common.metrics import Metrics
from server.sync_api.bridge import BridgeClosed, CallTimedOut, SyncBridge

log = logging.getLogger(__name__)

T = TypeVar("T")

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


class Face:
    """Gives async services the names, arguments and answers of the existing server's stores.

    As there, a failure of the store is logged, counted, and answered with False, None, 0 or an
    empty list. A call that can never work (a wrong type, a value that no store accepts) raises
    TypeError or ValueError; the bridge's errors (WrongThread, BridgeClosed, CallTimedOut) are
    raised too.
    """

    name = "face"

    def __init__(self, bridge: SyncBridge, metrics: Metrics) -> None:
        self._bridge = bridge
        self._metrics = metrics
        for method in dir(type(self)):
            if not method.startswith("_") and method != "name":
                metrics.sync_failures.labels(face=self.name, method=method)

    def _ask(self, method: str, failed: T, async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Return the result of `async_fn` on the loop, or `failed` after a BasError."""
        try:
            return self._bridge.call(async_fn, *args)
        except (BridgeClosed, CallTimedOut):
            raise
        except BasError as error:
            self._metrics.sync_failures.labels(face=self.name, method=method).inc()
            log.warning("%s.%s: %s", self.name, method, error)
            return failed


def checked_name(text: str, what: str) -> str:
    """Return the text if it may name a tenant or a device. Raises TypeError, ValueError."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if not _NAME.fullmatch(text):
        raise ValueError(f"{what} must be 1 to 128 printable characters, not {text[:200]!r}")
    return text


def whole_number(value: object, what: str, low: int, high: int) -> int:
    """Return the value if it is an int in this range. Raises TypeError, ValueError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{what} must be from {low} to {high}, not {value}")
    return value
