"""Systemd: tells systemd that the service is ready, works, or stops (man 3 sd_notify)."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping


class Systemd:
    """Sends states to NOTIFY_SOCKET; does nothing where systemd did not ask for them.

    `watchdog_s` is the most seconds between two `WATCHDOG=1`; None if systemd expects none.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is in Linux's abstract namespace.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self.watchdog_s = _watchdog_s(environ) if path else None

    def say(self, state: str) -> None:
        """Send a state, such as `READY=1`. If systemd does not take it, it is lost."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock,
        ):
            sock.sendto(state.encode(), self._address)


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if for_us and text.isascii() and text.isdigit() and int(text) else None
