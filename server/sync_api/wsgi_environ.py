"""Makes PEP 3333's environment (https://peps.python.org/pep-3333/) from an ASGI request."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any
from urllib.parse import unquote_to_bytes

from server.auth.session_cookies import session_cookie_names
from server.common.asgi import Scope


def make_environ(scope: Scope, body: IO[bytes]) -> dict[str, Any]:
    """Return PEP 3333's environment of an ASGI request whose whole body is in `body`.

    `path` of the scope is without `root_path`, the prefix below which the application lies. Headers
    with an underscore are left out: there they have the same key as with a hyphen.
    """
    size = body.seek(0, 2)
    body.seek(0)
    host, port = scope.get("server") or ("localhost", 80)
    client = scope.get("client") or ("", 0)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": scope.get("root_path", ""),
        "PATH_INFO": _path(scope).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or 0),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "CONTENT_LENGTH": str(size),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if "_" in name or name in {"content-length", "transfer-encoding", "proxy"}:
            continue
        key = name.upper().replace("-", "_")
        key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
        joint = "; " if name == "cookie" else ","
        environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
    return environ


def session_ids(environ: Mapping[str, Any]) -> list[str]:
    """The secret ids of sessions that a WSGI request brings, the one that counts first in front.

    They are read as from a request to this server's own routes: see `auth/session_cookies.py`.
    """
    # Imported here: only an application of the existing server's interface has such requests.
    from http.cookies import CookieError, SimpleCookie

    cookies = SimpleCookie()
    with suppress(CookieError):
        cookies.load(str(environ.get("HTTP_COOKIE", "")))
    names = session_cookie_names(str(environ.get("HTTP_HOST", "")), str(environ["wsgi.url_scheme"]))
    header = str(environ.get("HTTP_X_SESSION_ID", ""))
    found = [header, *(cookies[name].value for name in names if name in cookies)]
    return [session_id for session_id in dict.fromkeys(found) if session_id]


def _path(scope: Scope) -> bytes:
    """Return the bytes of the path: `path` has lost those that are no UTF-8."""
    raw: bytes = scope.get("raw_path") or b""
    # A raw path without the slash is a target with a host: then only `path` is right.
    return unquote_to_bytes(raw) if raw.startswith(b"/") else scope["path"].encode()
