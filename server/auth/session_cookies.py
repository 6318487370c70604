"""The cookies of a session: their names, how a request is read for them, and how they are set.

Callers of the existing server know `bas_session_id`. But browsers share cookies between the ports
of a host, so two servers on one host would overwrite each other's. Therefore a cookie whose name
carries the port goes beside it and counts first. Over https each has a twin with `__Host-`, which
no other host and no page over http can set, and which counts before those without.
"""

from __future__ import annotations

import re

from quart import after_this_request, request
from quart.typing import ResponseTypes

from server.config.config import ServerConfig

COOKIE = "bas_session_id"
HEADER = "X-Session-ID"
# https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Set-Cookie#cookie_prefixes
HOST_PREFIX = "__Host-"
PORTS = {"http": 80, "https": 443}

_PORT = re.compile(r":([0-9]{1,5})$")


def secret_ids() -> list[str]:
    """The secret ids that the request brings, the one that counts first in front.

    A header counts before the cookies; but one that is no live session must not shut a browser out.
    """
    header = request.headers.get(HEADER)
    return list(dict.fromkeys([*([header] if header else []), *_brought(_names())]))


def own_secret_ids() -> list[str]:
    """Of the secret ids in cookies, those that belong to this server.

    The cookie without a port may be of another server on the same host, for that server's users.
    Then it is also in the cookie of that server's port.
    """
    names = _names()
    brought, with_port = _brought(names), _brought(names[:-1])
    others = {
        value for name, value in request.cookies.items() if _plain(name) not in names
    }.difference(with_port)
    return [one for one in dict.fromkeys(brought) if one not in others]


def has_cookie() -> bool:
    """Whether the request has a session cookie, of this port or of another one."""
    return any(_plain(name).startswith(COOKIE) for name in request.cookies)


def set_cookies(config: ServerConfig, secret_id: str, max_age_s: int) -> None:
    """Let the answer set every cookie of the session; with no id and no time it clears them."""
    secure = is_secure(config)
    # The first one is without a port: simple clients of the existing server read one cookie only.
    names = _names()[::-1] + (
        [HOST_PREFIX + name for name in _names()] if hosts_own(secure) else []
    )
    _set(names, secret_id, max_age_s, secure)


def renew_cookies(config: ServerConfig, secret_id: str, max_age_s: int) -> None:
    """Let the answer lengthen the cookies in which the request brought this session."""
    names = [
        name
        for name, value in request.cookies.items()
        if value == secret_id and _plain(name) in _names()
    ]
    _set(names, secret_id, max_age_s, is_secure(config))


def _set(names: list[str], secret_id: str, max_age_s: int, secure: bool) -> None:
    @after_this_request
    async def set_all(response: ResponseTypes) -> ResponseTypes:
        for name in names:
            response.set_cookie(
                name,
                secret_id,
                max_age=max_age_s,
                httponly=True,
                samesite="Strict",
                secure=secure,
                path=cookie_path(name),
            )
        return response


def hosts_own(secure: bool) -> bool:
    """Whether a cookie is set with `__Host-`: over https, and not below a path prefix.

    Such a cookie goes to all paths of the host, so two servers below two prefixes would share it.
    """
    return secure and not request.root_path


def cookie_path(name: str) -> str:
    """The path to which browsers send a cookie: the server's own."""
    return "/" if name.startswith(HOST_PREFIX) else request.root_path + "/"


def _names() -> list[str]:
    """The names of the cookies without `__Host-`, the one that counts first in front."""
    number = port()
    return [COOKIE] if number is None else [f"{COOKIE}_{number}", COOKIE]


def port() -> int | None:
    """The port by which the browser knows this server; None if the Host has no valid one."""
    return _port_of(str(request.host or ""), request.scheme)


def session_cookie_names(host: str, scheme: str) -> list[str]:
    """The names of all cookies of a request to this host, the one that counts first in front."""
    number = _port_of(host, scheme)
    names = [COOKIE] if number is None else [f"{COOKIE}_{number}", COOKIE]
    return [*(HOST_PREFIX + name for name in names), *names]


def _port_of(host: str, scheme: str) -> int | None:
    if not host:
        return None
    if ":" not in host.rpartition("]")[2]:
        return PORTS.get(scheme)
    found = _PORT.search(host)
    port = int(found[1]) if found else 0
    return port if 0 < port < 65536 else None


def _plain(name: str) -> str:
    return name.removeprefix(HOST_PREFIX)


def _brought(names: list[str]) -> list[str]:
    """The values of the cookies with these names, first of those with `__Host-`."""
    both = [*(HOST_PREFIX + name for name in names), *names]
    return [value for name in both if (value := request.cookies.get(name))]


def is_secure(config: ServerConfig) -> bool:
    """Whether the cookies of this request's answer are for https only."""
    return config.cookie_secure == "always" or (
        config.cookie_secure == "auto" and request.scheme == "https"
    )
