"""What a request brings besides a session: an API token, or the cookie of a display."""

from __future__ import annotations

from quart import after_this_request, request
from quart.typing import ResponseTypes

from server.auth.session_cookies import (
    HOST_PREFIX,
    cookie_path,
    hosts_own,
    is_secure,
    port,
    secret_ids,
)
from server.common.bearer import bearer, is_api_token
from server.config.config import ServerConfig

DISPLAY_COOKIE = "bas_display"
# Browsers keep no cookie longer; each start of the page renews it.
# https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Set-Cookie#max-agenumber
DISPLAY_COOKIE_S = 400 * 86_400


def bearer_token() -> str | None:
    """What is sent as an API token, valid or not: it decides, whatever else the request brings."""
    sent = bearer(request.headers.get("Authorization", ""))
    return sent if is_api_token(sent) else None


def display_secret() -> str | None:
    """The secret of the display that this browser is."""
    name = _name()
    return request.cookies.get(HOST_PREFIX + name) or request.cookies.get(name)


def has_credentials() -> bool:
    """Whether the request brings a token, a session or a display's cookie, valid or not."""
    return bearer_token() is not None or bool(secret_ids()) or display_secret() is not None


def set_display_cookie(config: ServerConfig, secret: str) -> None:
    """Let the answer make this browser a display; over https no other host can set the cookie."""
    secure = is_secure(config)
    name = HOST_PREFIX + _name() if hosts_own(secure) else _name()

    @after_this_request
    async def set_it(response: ResponseTypes) -> ResponseTypes:
        response.set_cookie(
            name,
            secret,
            max_age=DISPLAY_COOKIE_S,
            httponly=True,
            samesite="Strict",
            secure=secure,
            path=cookie_path(name),
        )
        return response


def _name() -> str:
    """The cookie's name: browsers share cookies between the ports of a host."""
    number = port()
    return DISPLAY_COOKIE if number is None else f"{DISPLAY_COOKIE}_{number}"
