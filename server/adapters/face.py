"""Face: what the sync faces share: the bridge, and how an error becomes an empty answer."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from server.adapters.sync import BridgeClosed, CallTimedOut, SyncBridge
from server.errors import BasError
from server.metrics import Metrics

log = logging.getLogger(__name__)

T = TypeVar("T")

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


class Face:
    """Async services under the names, arguments and answers of the existing server's stores.

    As there, what goes wrong in the store is logged, counted, and answered with False, None, 0 or
    an empty list. A call that could never work (a wrong type, a value no store could keep) raises
    TypeError or ValueError; the bridge's own errors (WrongThread, BridgeClosed, CallTimedOut) are
    raised too.
    """

    name = "face"

    def __init__(self, bridge: SyncBridge, metrics: Metrics) -> None:
        self._bridge = bridge
        self._metrics = metrics

    def _ask(self, method: str, failed: T, async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """What `async_fn` returns on the loop, or `failed` if the store would not do it."""
        try:
            return self._bridge.call(async_fn, *args)
        except (BridgeClosed, CallTimedOut):
            raise
        except BasError as error:
            self._metrics.sync_failures.labels(face=self.name, method=method).inc()
            log.warning("%s.%s: %s", self.name, method, error)
            return failed


def checked_name(text: str, what: str) -> str:
    """The text, if it may name a tenant or device. Raises TypeError, ValueError."""
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if not _NAME.fullmatch(text):
        raise ValueError(f"{what} must be 1 to 128 printable characters, not {text[:200]!r}")
    return text


def whole_number(value: object, what: str, low: int, high: int) -> int:
    """The value, if it is an int in this range. Raises TypeError, ValueError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{what} must be from {low} to {high}, not {value}")
    return value
