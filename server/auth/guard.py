"""Guard: who may call a view; sync and async views alike."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from quart import current_app, request

from server.auth.principal import ANYONE, Principal
from server.auth.sessions import SessionService, WrongBrowser
from server.config.config import ServerConfig
from server.errors import BasError, Forbidden, Invalid, Unauthenticated, UnsupportedMedia
from server.metrics import Metrics
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import Role

log = logging.getLogger(__name__)

COOKIE = "bas_session_id"
HEADER = "X-Session-ID"
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
GUARD_MARK = "bas_required_role"

View = Callable[..., Any]


class Guard:
    """The rules of sessions, roles and tenants for HTTP views.

    A guarded view gets its caller as keyword argument `principal`. In shadow mode what would be
    refused is logged and counted, and the caller goes on as anyone; where log-in is disabled
    everybody is anyone.
    """

    def __init__(
        self,
        config: ServerConfig,
        sessions: SessionService,
        audit: AuditStore,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._sessions = sessions
        self._audit = audit
        self._metrics = metrics

    def require_auth(self, role: Role = "read-only") -> Callable[[View], View]:
        """Let callers of at least this role through.

        Raises Unauthenticated, Forbidden, Invalid (tenant).
        """

        def decorate(view: View) -> View:
            @wraps(view)
            async def guarded(*args: Any, **kwargs: Any) -> Any:
                kwargs["principal"] = await self._admit(role)
                return await current_app.ensure_async(view)(*args, **kwargs)

            setattr(guarded, GUARD_MARK, role)
            return guarded

        return decorate

    async def principal_if_any(self, *, required: bool = False) -> Principal | None:
        """The caller of a public view, if a live session came along; else None.

        With `required` a session that is not alive is Unauthenticated: what is sent with it must
        not land in the default tenant.
        """
        if not self._config.auth_on or session_id() is None:
            return None
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
        """Refuse a tenant header that names another tenant than the caller's own."""
        named = request.headers.get(self._config.tenant_id_header)
        if not tenant_id:
            raise Invalid("User not assigned to tenant", "NO_SESSION_TENANT")
        if named is not None and not named.strip():
            raise Invalid("Tenant ID required", "MISSING_TENANT_ID")
        if named is not None and named.strip() != tenant_id:
            raise Forbidden("Access denied to tenant", "TENANT_ACCESS_DENIED")

    async def check_origin(self) -> None:
        """Refuse an unsafe request that another site's page may have sent.

        An `Origin` must be this one or one of BAS_CORS_ORIGINS; with a session cookie a body must
        be JSON, which no form can send.
        """
        if request.method in SAFE_METHODS:
            return
        origin = request.headers.get("Origin")
        if origin is not None and not self._same_origin(origin):
            raise Forbidden("Cross-origin request refused", "CSRF_REFUSED", f"from {origin[:200]}")
        if COOKIE in request.cookies and not request.is_json and _carries_body():
            raise UnsupportedMedia(message="send Content-Type: application/json")

    async def _admit(self, role: Role) -> Principal:
        if not self._config.auth_on:
            return ANYONE
        principal: Principal | None = None
        try:
            principal = await self.resolve()
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
        log.warning("shadow: %s %s would be refused: %s", request.method, request.path, refusal)

    async def resolve(self) -> Principal:
        """Who holds this request's session. Raises Unauthenticated.

        A session in a wrong browser may be a stolen one: that is audited.
        """
        try:
            return await self._sessions.resolve(session_id(), user_agent())
        except WrongBrowser as refusal:
            await self._audit_refusal(refusal, refusal.session.tenant_id, refusal.session.username)
            raise

    async def _audit_refusal(self, refusal: BasError, tenant_id: str, username: str) -> None:
        """Keep what a known user was refused. What a stranger tries is only counted: it must not
        be possible to fill the disk from outside."""
        await self._audit.log_event(
            "ACCESS_DENIED",
            tenant_id=tenant_id or "default",
            username=username,
            address=address(),
            success=False,
            details={"code": refusal.code, "method": request.method, "path": request.path[:200]},
        )

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


def session_id() -> str | None:
    """The secret session id of this request, from header or cookie."""
    return request.headers.get(HEADER) or request.cookies.get(COOKIE)


def user_agent() -> str:
    """What a session is bound to."""
    return str(request.headers.get("User-Agent", ""))


def address() -> str:
    """The caller's address."""
    return str(request.remote_addr or "")


def _carries_body() -> bool:
    """A page of another site can send no request without Content-Type, Origin and body."""
    headers = request.headers
    return (
        "Content-Type" in headers
        or "Transfer-Encoding" in headers
        or headers.get("Content-Length", "0") != "0"
    )
