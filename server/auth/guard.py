"""Decides who may call a view; for sync and async views."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from quart import after_this_request, current_app, request
from quart.typing import ResponseTypes

from server.auth.principal import ANYONE, Principal
from server.auth.session_cookies import has_cookie, renew_cookies, secret_ids
from server.auth.sessions import SessionService, digest
from server.common.clock import Clock
from server.common.errors import (
    BasError,
    Forbidden,
    Invalid,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import Role, Session
from server.services.firestore.refusal_counts import RefusalKind

log = logging.getLogger(__name__)

# A page sends this with "1" when its request follows from what a person did with pointer or keys.
ACTIVE = "X-User-Active"
AGENT_SHOWN = 200
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

View = Callable[..., Any]


class Guard:
    """The rules of sessions, roles and tenants for HTTP views.

    A guarded view gets its caller as keyword argument `principal`. In shadow mode, refusals are
    only logged and counted; a caller without a valid session and tenant continues as ANYONE. If
    log-in is disabled, every caller is ANYONE.
    """

    def __init__(
        self,
        config: ServerConfig,
        sessions: SessionService,
        audit: AuditStore,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._sessions = sessions
        self._audit = audit
        self._clock = clock
        self._metrics = metrics

    def require_auth(
        self, role: Role = "read-only", *, is_use: bool = True
    ) -> Callable[[View], View]:
        """Let callers of at least this role through.

        Without `is_use`, calling this view never extends a session. Raises
        Unauthenticated, Forbidden, Invalid (tenant).
        """

        def decorate(view: View) -> View:
            @wraps(view)
            async def guarded(*args: Any, **kwargs: Any) -> Any:
                after_this_request(never_stored)
                kwargs["principal"] = await self._admit(role, is_use)
                return await current_app.ensure_async(view)(*args, **kwargs)

            return guarded

        return decorate

    async def principal_if_any(self, *, required: bool = False) -> Principal | None:
        """The caller of a public view if the request has a live session; else None.

        With `required`, a session that is not alive raises Unauthenticated: its data must not go to
        the default tenant.
        """
        if not self._config.auth_on or not secret_ids():
            return None
        after_this_request(never_stored)
        try:
            principal = await self.resolve()
        except Unauthenticated:
            if required and not self._config.shadow:
                raise
            return None
        try:
            self.check_tenant(principal.tenant_id)
        except (Forbidden, Invalid) as refusal:
            if not self._config.shadow:
                raise
            self._log_shadow(refusal)
            return principal if principal.tenant_id else None
        return principal

    def check_tenant(self, tenant_id: str) -> None:
        """Refuse a tenant header that names another tenant than the caller's."""
        named = request.headers.get(self._config.tenant_id_header)
        if not tenant_id:
            raise Invalid("User not assigned to tenant", "NO_SESSION_TENANT")
        if named is not None and not named.strip():
            raise Invalid("Tenant ID required", "MISSING_TENANT_ID")
        if named is not None and named.strip() != tenant_id:
            raise Forbidden("Access denied to tenant", "TENANT_ACCESS_DENIED")

    async def check_origin(self) -> None:
        """Refuse an unsafe request that another site's page may have sent.

        An `Origin` must be this site or one of BAS_CORS_ORIGINS. With a session cookie a body must
        be JSON, which no form can send.
        """
        if request.method in SAFE_METHODS:
            return
        origin = request.headers.get("Origin")
        if origin is not None and not self._same_origin(origin):
            raise Forbidden("Cross-origin request refused", "CSRF_REFUSED", f"from {origin[:200]}")
        if has_cookie() and not request.is_json and _carries_body():
            raise UnsupportedMedia(message="send Content-Type: application/json")

    async def _admit(self, role: Role, is_use: bool) -> Principal:
        if not self._config.auth_on:
            return ANYONE
        principal: Principal | None = None
        try:
            principal = await self.resolve(is_use=is_use)
            self.check_tenant(principal.tenant_id)
            if not principal.may(role):
                raise Forbidden(message=f"{principal.role} role cannot perform this action")
        except (Unauthenticated, Forbidden, Invalid) as refusal:
            self._metrics.denials.labels(code=refusal.code).inc()
            if principal is not None:
                await self._audit_refusal(refusal, principal.tenant_id, principal.username)
            if not self._config.shadow:
                raise
            self._log_shadow(refusal)
            return principal if principal and principal.tenant_id else ANYONE
        return principal

    @staticmethod
    def _log_shadow(refusal: BasError) -> None:
        log.warning(
            "shadow mode: %s %s would be refused: %s", request.method, request.path, refusal
        )

    async def resolve(self, *, is_use: bool = True) -> Principal:
        """The caller who has this request's session. Raises Unauthenticated.

        A person's request extends the session, and the cookies that brought it. A session in
        another browser than at log-in may be stolen: the first such request is audited. While the
        store takes no writes, the request goes on without them.
        """
        brought = secret_ids()
        session, user = await self._sessions.resolve(brought)
        try:
            await self._audit_agent(session)
            if is_use and request.headers.get(ACTIVE) == "1":
                session = await self._extended(session, brought)
        except Unavailable as error:
            log.warning("a session could not be changed, the next request retries: %s", error)
        return self._sessions.principal(session, user)

    async def _extended(self, session: Session, brought: list[str]) -> Session:
        extended = await self._sessions.extended(session)
        if extended.expire_at > session.expire_at:
            secret_id = next(one for one in brought if digest(one) == session.digest)
            left_ms = extended.expire_at - self._clock.now_ms()
            renew_cookies(self._config, secret_id, left_ms // 1000)
        return extended

    async def _audit_agent(self, session: Session) -> None:
        agent = user_agent()
        if not self._sessions.may_audit_agent(session, agent):
            return
        entry = self._audit.entry(
            "USER_AGENT_CHANGED",
            tenant_id=session.tenant_id or "default",
            username=session.username,
            address=address(),
            details={
                "user_agent": agent[:AGENT_SHOWN],
                "method": request.method,
                "path": request.path[:200],
            },
        )
        await self._sessions.audit_agent(session, entry)

    async def _audit_refusal(self, refusal: BasError, tenant_id: str, username: str) -> None:
        """Write an audit entry for a refusal of a known user; equal ones share one a minute.

        Refusals of strangers are only counted: a client without a session must not be able to fill
        the disk.
        """
        kind = RefusalKind(
            "ACCESS_DENIED",
            tenant_id or "default",
            username,
            refusal.code,
            request.method,
            request.path[:200],
        )
        await self._audit.refusals.refused(kind, address())

    def _same_origin(self, origin: str) -> bool:
        if origin in self._config.cors_origins:
            return True
        try:
            parts = urlsplit(origin)
            port = parts.port
        except ValueError:
            return False
        default = {"http": 80, "https": 443}.get(parts.scheme)
        host = f"{parts.hostname}:{port or default}"
        own = request.host if ":" in request.host.rsplit("]")[-1] else f"{request.host}:{default}"
        return default is not None and host == own.lower().replace("[", "").replace("]", "")


async def never_stored(response: ResponseTypes) -> ResponseTypes:
    """Forbid browsers and proxies to store an answer, unless it has a rule of its own."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def user_agent() -> str:
    """The User-Agent of the request."""
    return str(request.headers.get("User-Agent", ""))


def address() -> str:
    """The caller's address."""
    return str(request.remote_addr or "")


def _carries_body() -> bool:
    """Whether the request has a body or a header that announces one.

    A page of another site cannot send a request that lacks Content-Type, Origin and body.
    """
    headers = request.headers
    return (
        "Content-Type" in headers
        or "Transfer-Encoding" in headers
        or headers.get("Content-Length", "0") != "0"
    )
