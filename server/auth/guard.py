"""Decides who may call a view; for sync and async views."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import msgspec
from quart import after_this_request, current_app, request
from quart.typing import ResponseTypes

from server.auth.principal import ANYONE, Principal, ZoneDenied
from server.auth.request_origin import carries_body, is_own_origin
from server.auth.request_tokens import bearer_token, display_secret, has_credentials
from server.auth.session_cookies import has_cookie, renew_cookies, secret_ids
from server.auth.sessions import SessionService, digest
from server.auth.tokens import TokenRefused, TokenService, user_of
from server.auth.wrong_keys import WrongKeys
from server.common.clock import Clock
from server.common.errors import (
    BasError,
    Forbidden,
    Invalid,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from server.common.metrics import Metrics
from server.config.config import ServerConfig
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import Role, Session, TokenKind
from server.services.firestore.refusal_counts import RefusalKind

log = logging.getLogger(__name__)

# A page sends this with "1" when its request follows from what a person did with pointer or keys.
ACTIVE = "X-User-Active"
AGENT_SHOWN = 200
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

View = Callable[..., Any]


class Guard:
    """The rules of sessions, tokens, roles and tenants for HTTP views.

    A guarded view gets its caller as keyword argument `principal`. In shadow mode, refusals are
    only logged and counted; a caller without a tenant, or without a valid session or token,
    continues as ANYONE. If log-in is disabled, every caller is ANYONE.
    """

    def __init__(
        self,
        config: ServerConfig,
        sessions: SessionService,
        tokens: TokenService,
        wrong: WrongKeys,
        audit: AuditStore,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._sessions = sessions
        self._tokens = tokens
        self._wrong = wrong
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
                principal = kwargs["principal"] = await self._admit(role, is_use)
                try:
                    return await current_app.ensure_async(view)(*args, **kwargs)
                except ZoneDenied as refusal:
                    self._metrics.denials.labels(code=refusal.code).inc()
                    await self._audit_refusal(refusal, principal.tenant_id, principal.username)
                    raise

            # The API's document says it.
            guarded.required_role = role  # type: ignore[attr-defined]
            return guarded

        return decorate

    async def principal_if_any(self, *, posts: bool = False) -> Principal | None:
        """The caller of a public view if the request has a live session or token; else None.

        A token that is not valid raises Unauthenticated: a program must not get another tenant's
        answers. If the caller `posts` readings, so does a session that is not alive: its data must
        not go to the default tenant. In shadow mode every caller may post for its tenant.
        """
        if not self._config.auth_on or not has_credentials():
            return None
        after_this_request(never_stored)
        try:
            principal = await self.resolve(remembered=posts)
        except Unauthenticated as refusal:
            if isinstance(refusal, TokenRefused):
                self._metrics.denials.labels(code=refusal.code).inc()
            if (posts or bearer_token()) and not self._config.shadow:
                raise
            return None
        if posts and self._config.shadow and not principal.may("operator"):
            self._log_shadow(Forbidden(message=f"{principal.role} role cannot post readings"))
            principal = msgspec.structs.replace(principal, role="operator")
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
        be JSON, which no form can send. No page can add a token to a request unless it knows it:
        browsers ask the server first (CORS), and send none by themselves.
        """
        if request.method in SAFE_METHODS or bearer_token() is not None:
            return
        origin = request.headers.get("Origin")
        if origin is not None and not is_own_origin(origin, self._config.cors_origins):
            raise Forbidden("Cross-origin request refused", "CSRF_REFUSED", f"from {origin[:200]}")
        if has_cookie() and not request.is_json and carries_body():
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

    async def resolve(self, *, is_use: bool = True, remembered: bool = False) -> Principal:
        """The caller by its API token, or else its session, or else its display's cookie.

        Raises Unauthenticated. `remembered` is that of `TokenService.principal`.
        """
        if (secret := bearer_token()) is not None:
            return await self._by_token(secret, "api", remembered)
        shown = display_secret()
        if shown is None:
            return await self._by_session(is_use)
        try:
            if secret_ids():
                return await self._by_session(is_use)
        except Unauthenticated:
            pass  # a person logged in on a wall screen, and the session has ended
        return await self._by_token(shown, "display")

    async def token_caller(self) -> Principal | None:
        """The caller by its API token, also if log-in is disabled; None without a token.

        Raises TokenRefused.
        """
        secret = bearer_token()
        return None if secret is None else await self._by_token(secret, "api")

    async def _by_token(self, secret: str, kind: TokenKind, remembered: bool = False) -> Principal:
        try:
            principal = await self._of_token(secret, kind, remembered)
        except TokenRefused as refusal:
            if refusal.token is not None:
                owner = refusal.token.tenant_id, user_of(refusal.token)
                await self._audit_refusal(refusal, *owner, "TOKEN_REFUSED")
            elif wait_s := self._wrong.count(address()):
                raise RateLimited(wait_s) from refusal
            raise
        if self._config.shadow:  # anyone sees all zones
            return msgspec.structs.replace(principal, zones=frozenset())
        return principal

    async def _of_token(self, secret: str, kind: TokenKind, remembered: bool) -> Principal:
        """Look the token up; an address that sent many wrong ones gets few look-ups at a time."""
        if not self._wrong.limited(address()):
            return await self._tokens.principal(secret, kind, remembered=remembered)
        async with self._wrong.turn(address()):
            return await self._tokens.principal(secret, kind, remembered=remembered)

    async def _by_session(self, is_use: bool) -> Principal:
        """The caller of this request, by its session. Raises Unauthenticated.

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

    async def _audit_refusal(
        self, refusal: BasError, tenant_id: str, username: str, action: str = "ACCESS_DENIED"
    ) -> None:
        """Write an audit entry for a refusal of a known user; equal ones share one a minute.

        Refusals of strangers are only counted: a client without a session must not be able to fill
        the disk.
        """
        kind = RefusalKind(
            action,
            tenant_id or "default",
            username,
            refusal.code,
            request.method,
            request.path[:200],
        )
        await self._audit.refusals.refused(kind, address())


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
