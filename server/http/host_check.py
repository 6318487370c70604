"""HostCheck: answers only requests for this server's names, against pages of other sites.

A page of evil.example may change its name to this server's address after it was loaded (DNS
rebinding). The browser then lets the page read and command this server as if it were the page's
server. The Host header that the browser sends shows the wrong name.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from server.common.asgi import App, Receive, Scope, Send
from server.common.errors import Misdirected
from server.common.seldom import Seldom

log = logging.getLogger(__name__)

Answer = tuple[int, bytes, Mapping[str, str]]
"""Status, JSON and further headers."""
ErrorAnswer = Callable[[str, Exception], Answer]

# Devices in the field send any host name, and this server cannot change their configuration.
DEVICE_POSTS = {"/api/sensor_data", "/api/sensor_data/batch"}
# Load balancers ask for these over HTTP/1.0 without a Host (HAProxy does by default); browsers
# always send one.
PROBES = {"/healthz", "/readyz"}
# localhost never leaves the machine; machines of the local network answer for .local, not the DNS
# server of another site.
ALWAYS = ("localhost", "*.localhost", "*.local")
# A name of 253 characters, the longest in DNS, and a port; no longer host can be this server's.
HOST_MAX = 260
# How many different hosts are cached with the result of the check.
HOSTS = 256
# The length to which the log and the answer cut a wrong host.
SHOWN_MAX = 100

_HOST = re.compile(r"(?P<name>[^\[\]:]+|\[[^\[\]]+\])(:\d*)?")
_NOT_SHOWN = re.compile(r"[^\w.:\[\]-]", re.ASCII)


class HostCheck:
    """ASGI middleware; IP addresses always pass.

    `allowed` holds names; `*.name` stands for all names below it.
    """

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
        self._is_ours = lru_cache(HOSTS)(self._check)
        self._wrong_hosts = Seldom()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            wrong = self._wrong_host(scope)
            if wrong is not None:
                await self._refuse(wrong, scope, send)
                return
        await self._app(scope, receive, send)

    def _wrong_host(self, scope: Scope) -> str | None:
        """Return the host that is not ours, "" if there is none; None if the request may pass."""
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

    def _check(self, host: bytes) -> bool:
        name = _name(host.decode("latin-1"))
        if name in self._names or _is_address(name):
            return True
        above = name.split(".")[1:]
        return any(f"*.{'.'.join(above[start:])}" in self._names for start in range(len(above)))

    async def _refuse(self, host: str, scope: Scope, send: Send) -> None:
        shown = _shown(host)
        if self._wrong_hosts.may_log(shown):
            log.warning(*_words(shown, (scope.get("client") or ("nowhere",))[0]))
        hint = f"add {shown} to BAS_ALLOWED_HOSTS" if shown else "send a Host header"
        request = f"{scope['method']} {scope['path']}"
        answer = self._error_answer(request, Misdirected(message=hint))
        await send_refusal(send, answer, self._headers)


async def send_refusal(send: Send, answer: Answer, common: Mapping[str, str]) -> None:
    """Send an error answer from outside of the application, with the headers of all answers."""
    status, body, more = answer
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **common,
        **more,
    }
    encoded = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def own_names() -> set[str]:
    """The machine's own names: its host name with the domain and without."""
    # Not getfqdn, which asks a name server and may wait for it.
    name = _name(socket.gethostname())
    return {name, name.split(".")[0]} - {""}


def _name(host: str) -> str:
    """Return a Host in lower case without its port, to compare it; "" if it is no valid Host."""
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
