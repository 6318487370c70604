"""What a server leaves open to anyone who reaches its port, as warnings for its start."""

from __future__ import annotations

from collections.abc import Iterator

from server.common.addresses import is_loopback
from server.config.config import ServerConfig


def open_doors(config: ServerConfig, port: int) -> Iterator[str]:
    """One line for each thing that is open, with the setting that closes it.

    A server without log-in is open behind a proxy too. Keyless posts and /metrics are not named
    where the server listens on this machine only: there the proxy decides what it passes on.
    """
    anyone = f"anyone who reaches port {port} may"
    if not config.auth_on:
        yield (
            f"log-in is off: {anyone} read everything and change setpoints. Unset"
            " BAS_AUTH_ENABLED and BAS_AUTH_MODE to turn it on"
        )
    elif config.shadow:
        yield (
            f"nobody is refused: {anyone} read everything and change setpoints. Unset"
            " BAS_AUTH_MODE, which is shadow, to demand log-in"
        )
    if is_loopback(config.host):
        return
    if config.device_auth == "off":
        yield (
            f"keys of devices are not checked: {anyone} post readings of any device. Set"
            " BAS_DEVICE_AUTH=required"
        )
    elif config.device_auth == "optional":
        yield (
            f"devices need no key: {anyone} post readings of a device that has none. Set"
            " BAS_DEVICE_AUTH=required"
        )
    if config.metrics == "open":
        yield f"/metrics is open: {anyone} read it. Set BAS_METRICS=local, token or off"
