"""HostCheck: answers only to names that are this server's, so that no other site's page can use it.

A page of evil.example may let that name lead to this server's address once it is loaded (DNS
rebinding): to the browser it then is its own server, which it may read and command. What gives it
away is the Host that the browser sends.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from server.errors import Misdirected
from server.seldom import Seldom

log = logging.getLogger(__name__)

Scope = dict[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]
ErrorAnswer = Callable[[str, Exception], tuple[int, bytes, dict[str, str]]]

# Devices in the field name their server as they like, and cannot be changed from here.
DEVICE_POSTS = {"/api/sensor_data", "/api/sensor_data/batch"}
# Balancers ask these over HTTP/1.0 without any Host (HAProxy does unless told otherwise), which no
# browser does.
PROBES = {"/healthz", "/readyz"}
# localhost never leaves the machine; .local is answered by neighbours, not by a site's DNS server.
ALWAYS = ("localhost", "*.localhost", "*.local")
# A name of 253 characters, the most that DNS has, and a port; what is longer is nobody's.
HOST_MAX = 260
# Different hosts that are remembered with their verdict.
HOSTS = 256
# What is shown of a wrong host, in log and answer.
SHOWN_MAX = 100

_HOST = re.compile(r"(?P<name>[^\[\]:]+|\[[^\[\]]+\])(:\d*)?")
_NOT_SHOWN = re.compile(r"[^\w.:\[\]-]", re.ASCII)


class HostCheck:
    """ASGI middleware. `allowed` are names, or `*.name` for all below it; addresses always may."""

    def __init__(
        self,
        app: App,
        allowed: Iterable[str],
        error_answer: ErrorAnswer,
        headers: Mapping[str, str],
    ) -> None:
        self._app = app
        self._names = {*allowed, *ALWAYS}
        self._error_answer = error_answer
        self._headers = headers
        self._is_ours = lru_cache(HOSTS)(self._look_at)
        self._told = Seldom()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            wrong = self._wrong_host(scope)
            if wrong is not None:
                await self._refuse(wrong, scope, send)
                return
        await self._app(scope, receive, send)

    def _wrong_host(self, scope: Scope) -> str | None:
        """The host that is not ours, "" for none at all; None if the request may pass."""
        if scope["method"] == "POST" and scope["path"] in DEVICE_POSTS:
            return None
        pairs: list[tuple[bytes, bytes]] = scope["headers"]
        hosts = [value for name, value in pairs if name == b"host" and value]
        if not hosts and scope["path"] not in PROBES:
            return ""
        for host in hosts:
            if len(host) > HOST_MAX or not self._is_ours(host):
                return host[:HOST_MAX].decode("latin-1")
        return None

    def _look_at(self, host: bytes) -> bool:
        name = _name(host.decode("latin-1"))
        if name in self._names or _is_address(name):
            return True
        above = name.split(".")[1:]
        return any(f"*.{'.'.join(above[start:])}" in self._names for start in range(len(above)))

    async def _refuse(self, host: str, scope: Scope, send: Any) -> None:
        shown = _shown(host)
        if self._told.may_say(shown):
            log.warning(*_words(shown, (scope.get("client") or ("nowhere",))[0]))
        hint = f"add {shown} to BAS_ALLOWED_HOSTS" if shown else "send a Host header"
        asked = f"{scope['method']} {scope['path']}"
        status, body, more = self._error_answer(asked, Misdirected(message=hint))
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            **self._headers,
            **more,
        }
        encoded = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": encoded})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def own_names() -> set[str]:
    """What this machine calls itself, with its domain and without."""
    # Not getfqdn, which asks a name server and may wait for it.
    name = _name(socket.gethostname())
    return {name, name.split(".")[0]} - {""}


def _name(host: str) -> str:
    """A Host without its port, as names are compared; what is no Host at all is no one's."""
    found = _HOST.fullmatch(host)
    return found["name"].lower().removesuffix(".") if found else ""


def _is_address(name: str) -> bool:
    try:
        if name.startswith("["):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _words(shown: str, address: str) -> tuple[str, ...]:
    if not shown:
        return (
            "a request from %s was refused because it has no Host header: let its client send one",
            address,
        )
    return (
        "a request from %s for host %s was refused: if people call this server so, add the name to "
        "BAS_ALLOWED_HOSTS; if they do not, another site's page may have tried to use this server",
        address,
        shown,
    )


def _shown(host: str) -> str:
    return _NOT_SHOWN.sub("?", (_name(host) or host)[:SHOWN_MAX])
