"""TrustedProxies: takes the caller's address, scheme and prefix from headers of trusted proxies."""

from __future__ import annotations

import logging

from server.common.addresses import trusts
from server.common.asgi import App, Receive, Scope, Send
from server.config.parsers import Network
from server.http.root_path import FORWARDED_PREFIX, forwarded_prefix

log = logging.getLogger(__name__)

FORWARDED_FOR = b"x-forwarded-for"


class TrustedProxies:
    """ASGI middleware. It ignores these headers from peers that are not trusted proxies.

    The first such peer is logged, since it may be a proxy that the operator forgot to name. There
    is one warning only, because strangers can send these headers too.
    """

    def __init__(self, app: App, networks: tuple[Network, ...], failures_max: int) -> None:
        self._app = app
        self._networks = networks
        self._failures_max = failures_max
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("client"):
            peer = scope["client"][0]
            if self._trusts(peer):
                scope = self._as_forwarded(scope)
            elif not self._warned and _header(scope, FORWARDED_FOR):
                self._warned = True
                self._warn(peer)
        await self._app(scope, receive, send)

    def _warn(self, peer: str) -> None:
        log.warning(
            "%s sends X-Forwarded-For and is not in BAS_TRUSTED_PROXIES: all people behind it count"
            " as one caller, and %d failed log-ins of one of them shut out all of them for 15"
            " minutes. If it is your proxy, add %s to BAS_TRUSTED_PROXIES; if not, ignore this",
            peer,
            self._failures_max,
            peer,
        )

    def _as_forwarded(self, scope: Scope) -> Scope:
        forwarded: Scope = dict(scope)
        chain = [_address(hop) for hop in _header(scope, FORWARDED_FOR).split(",")]
        # The nearest hop that is no trusted proxy is the caller, which may have made up the rest.
        caller = next((hop for hop in reversed(chain) if hop and not self._trusts(hop)), None)
        if caller is not None:
            forwarded["client"] = (caller, 0)
        scheme = _header(scope, b"x-forwarded-proto").split(",")[-1].strip().lower()
        if scheme in {"http", "https"}:
            forwarded["scheme"] = scheme
        if prefix := forwarded_prefix(_header(scope, FORWARDED_PREFIX)):
            forwarded["root_path"] = prefix
        return forwarded

    def _trusts(self, address: str) -> bool:
        return trusts(address, self._networks)


def _address(hop: str) -> str:
    """Return a hop without the port that some proxies add: one caller must not look like many."""
    hop = hop.strip()
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _header(scope: Scope, name: bytes) -> str:
    values = [value.decode("latin1") for key, value in scope["headers"] if key.lower() == name]
    return ",".join(values)
