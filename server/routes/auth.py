"""Routes to log in, log out and ask for the session's user: /auth."""

from __future__ import annotations

from quart import Blueprint, request
from quart_schema import validate_response

from server.auth.guard import Guard, address, user_agent
from server.auth.login import LoginService
from server.auth.principal import ANYONE, Principal
from server.auth.request_tokens import (
    DISPLAY_COOKIE_S,
    display_secret,
    has_credentials,
    set_display_cookie,
)
from server.auth.session_cookies import HEADER, own_secret_ids, set_cookies
from server.auth.session_watch import SessionWatch
from server.auth.tokens import TokenRefused
from server.common.clock import Clock
from server.common.errors import Invalid, Unauthenticated, Unavailable
from server.config.config import ServerConfig
from server.routes.models import (
    Login,
    LoginAnswer,
    LoginUser,
    Logout,
    LogoutAnswer,
    SessionStatus,
    SessionUser,
)
from server.routes.requests import fails_with, json_body


def blueprint(
    config: ServerConfig,
    logins: LoginService,
    guard: Guard,
    watch: SessionWatch,
    clock: Clock,
) -> Blueprint:
    """Public routes; /auth/status answers about the session or token in the request."""
    bp = Blueprint("auth", __name__)

    @bp.post("/auth/login")
    @validate_response(LoginAnswer)
    @fails_with(400, 401, 413, 415, 423, 429, 503)
    @json_body(Login, empty=_nothing)
    async def login(data: Login) -> LoginAnswer:
        if not config.auth_on:
            raise Unavailable("Authentication is disabled", "AUTH_DISABLED")
        if not data.username or not data.password:
            raise _nothing()
        before = own_secret_ids()
        done = await logins.login(data.username, data.password, user_agent(), address())
        await logins.end_replaced(before, address())
        watch.check_now()
        set_cookies(config, done.session_id, done.expires_in)
        user = LoginUser(done.user.username, done.user.role)
        return LoginAnswer("success", done.expires_in, user)

    @bp.post("/auth/logout")
    @validate_response(LogoutAnswer)
    @fails_with(400, 413, 415, 503)
    @json_body(Logout)
    async def logout(data: Logout) -> LogoutAnswer:
        brought = {data.session_id, request.headers.get(HEADER), *own_secret_ids()}
        await logins.logout(brought, address())
        watch.check_now()
        set_cookies(config, "", 0)
        return LogoutAnswer()

    @bp.get("/auth/status")
    @validate_response(SessionStatus)
    @fails_with(400, 401, 503)
    async def status() -> SessionStatus:
        if not config.auth_on:
            everybody = SessionUser(ANYONE.username, ANYONE.role, 0, 0)
            return SessionStatus("valid", everybody, config.session_timeout)
        if not has_credentials():
            raise Invalid("No session provided", "NO_SESSION")
        try:
            principal = await guard.resolve()
        except Unauthenticated as error:
            code = error.code if isinstance(error, TokenRefused) else None
            raise Unauthenticated(code=code, message=error.message) from None
        _renew(config, principal)
        return _status(principal, clock.now_ms())

    return bp


def _status(principal: Principal, now_ms: int) -> SessionStatus:
    since_ms = principal.login_time
    user = SessionUser(principal.username, principal.role, since_ms // 1000, since_ms)
    left_ms = principal.end.expire_at - now_ms if principal.end else 0
    left_s = min(max(0, left_ms // 1000), DISPLAY_COOKIE_S)
    return SessionStatus("valid", user, left_s, principal.kind)


def _renew(config: ServerConfig, principal: Principal) -> None:
    """Let a display keep its cookie: browsers keep none for ever."""
    shown = display_secret()
    if principal.kind == "display" and shown is not None:
        set_display_cookie(config, shown)


def _nothing() -> Invalid:
    return Invalid("Missing required fields", "MISSING_FIELDS")
