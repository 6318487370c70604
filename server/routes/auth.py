"""Log in, log out, who am I: /auth."""

from __future__ import annotations

from quart import Blueprint, Response, request
from quart_schema import validate_response

from server.auth.guard import COOKIE, Guard, address, session_id, user_agent
from server.auth.login import LoginService
from server.auth.principal import ANYONE
from server.auth.session_watch import SessionWatch
from server.auth.sessions import SessionService
from server.clock import Clock
from server.config.config import ServerConfig
from server.errors import Invalid, Unauthenticated, Unavailable
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
    sessions: SessionService,
    guard: Guard,
    watch: SessionWatch,
    clock: Clock,
) -> Blueprint:
    """Public routes; /auth/status answers for the session it is asked with."""
    bp = Blueprint("auth", __name__)

    @bp.post("/auth/login")
    @validate_response(LoginAnswer)
    @fails_with(400, 401, 413, 415, 423, 429, 503)
    @json_body(Login, empty=_nothing)
    async def login(data: Login) -> tuple[LoginAnswer, int, dict[str, str]]:
        if not config.auth_on:
            raise Unavailable("Authentication is disabled", "AUTH_DISABLED")
        if not data.username or not data.password:
            raise _nothing()
        done = await logins.login(data.username, data.password, user_agent(), address())
        user = LoginUser(done.user.username, done.user.role)
        answer = LoginAnswer("success", done.expires_in, user)
        return answer, 200, _cookie(done.session_id, done.expires_in)

    @bp.post("/auth/logout")
    @validate_response(LogoutAnswer)
    @fails_with(400, 413, 415, 503)
    @json_body(Logout)
    async def logout(data: Logout) -> tuple[LogoutAnswer, int, dict[str, str]]:
        for secret in {data.session_id, session_id()} - {None, ""}:
            await sessions.end(str(secret))
        watch.look_now()
        return LogoutAnswer(), 200, _cookie("", 0)

    @bp.get("/auth/status")
    @validate_response(SessionStatus)
    @fails_with(400, 401, 503)
    async def status() -> SessionStatus:
        if not config.auth_on:
            everybody = SessionUser(ANYONE.username, ANYONE.role, 0)
            return SessionStatus("valid", everybody, config.session_timeout)
        if not session_id():
            raise Invalid("No session provided", "NO_SESSION")
        try:
            principal = await guard.resolve()
        except Unauthenticated as error:
            raise Unauthenticated(message=error.message) from None
        user = SessionUser(principal.username, principal.role, principal.login_time)
        left_ms = principal.expire_at - clock.now_ms()
        return SessionStatus("valid", user, max(0, left_ms // 1000))

    def _cookie(value: str, max_age_s: int) -> dict[str, str]:
        secure = config.cookie_secure == "always" or (
            config.cookie_secure == "auto" and request.scheme == "https"
        )
        carrier = Response()
        carrier.set_cookie(
            COOKIE, value, max_age=max_age_s, httponly=True, samesite="Strict", secure=secure
        )
        return {"Set-Cookie": carrier.headers["Set-Cookie"]}

    return bp


def _nothing() -> Invalid:
    return Invalid("Missing required fields", "MISSING_FIELDS")
