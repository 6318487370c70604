"""TrustedProxies: the caller's real address and scheme, when a proxy that is trusted tells them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from server.addresses import trusts
from server.config.config import Network

Scope = dict[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]


class TrustedProxies:
    """ASGI middleware. Headers of anyone who is not a trusted proxy are not believed."""

    def __init__(self, app: App, networks: tuple[Network, ...]) -> None:
        self._app = app
        self._networks = networks

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope.get("client") and self._trusts(scope["client"][0]):
            scope = self._told(scope)
        await self._app(scope, receive, send)

    def _told(self, scope: Scope) -> Scope:
        told = dict(scope)
        chain = [_address(hop) for hop in _header(scope, b"x-forwarded-for").split(",")]
        # The nearest hop that is no proxy of ours is the caller; what stands before it is hearsay.
        caller = next((hop for hop in reversed(chain) if hop and not self._trusts(hop)), None)
        if caller is not None:
            told["client"] = (caller, 0)
        scheme = _header(scope, b"x-forwarded-proto").split(",")[-1].strip().lower()
        if scheme in {"http", "https"}:
            told["scheme"] = scheme
        return told

    def _trusts(self, address: str) -> bool:
        return trusts(address, self._networks)


def _address(hop: str) -> str:
    """A hop without the port that some proxies add: one caller must not look like many."""
    hop = hop.strip()
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _header(scope: Scope, name: bytes) -> str:
    values = [value.decode("latin1") for key, value in scope["headers"] if key.lower() == name]
    return ",".join(values)
