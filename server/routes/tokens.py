"""Routes of API tokens and displays: /api/tokens for admins, /auth/display for a wall screen."""

from __future__ import annotations

from quart import Blueprint, render_template
from quart_schema import hide, validate_response

from server.auth.guard import Guard, address
from server.auth.principal import Principal
from server.auth.request_tokens import set_display_cookie
from server.auth.session_watch import SessionWatch
from server.auth.tokens import NewToken, TokenService, link_path, state_of
from server.common.clock import Clock
from server.common.errors import NotFound, Unauthenticated, Unavailable
from server.config.config import ServerConfig
from server.routes.admitted import admitted
from server.routes.requests import fails_with, json_body
from server.routes.token_models import (
    DisplayOpened,
    NewTokenBody,
    OpenLink,
    TokenCreated,
    TokenRevoked,
    TokensList,
    TokenView,
)
from server.services.firestore.models import ApiToken


def blueprint(
    config: ServerConfig, tokens: TokenService, guard: Guard, watch: SessionWatch, clock: Clock
) -> Blueprint:
    """Admins with a session see, make and revoke the tokens of their own tenant."""
    bp = Blueprint("tokens", __name__)

    @bp.get("/api/tokens")
    @guard.require_auth("admin")
    @validate_response(TokensList)
    @fails_with(401, 403, 503)
    async def list_tokens(principal: Principal) -> TokensList:
        actor = admitted(config, principal)
        now = clock.now_ms()
        return TokensList([_view(one, now) for one in await tokens.listed(actor.tenant_id)])

    @bp.post("/api/tokens")
    @guard.require_auth("admin")
    @validate_response(TokenCreated)
    @fails_with(400, 401, 403, 409, 413, 415, 503)
    @json_body(NewTokenBody)
    async def create(data: NewTokenBody, principal: Principal) -> TokenCreated:
        """Create a token; its secret is shown only now."""
        actor = admitted(config, principal)
        new = NewToken(data.name, data.role, tuple(data.zones), data.expires_in, data.display)
        token, secret = await tokens.create(actor, principal.tenant_id, new)
        view = _view(token, clock.now_ms())
        if data.display:
            return TokenCreated(True, view, link=link_path(secret))
        return TokenCreated(True, view, secret=secret)

    @bp.delete("/api/tokens/<name>")
    @guard.require_auth("admin")
    @validate_response(TokenRevoked)
    @fails_with(401, 403, 404, 503)
    async def revoke(name: str, principal: Principal) -> TokenRevoked:
        """Revoke a token; its streams end soon, in every process."""
        await tokens.revoke(admitted(config, principal), principal.tenant_id, name)
        watch.check_now()
        return TokenRevoked(True)

    _add_display(bp, config, tokens)
    return bp


def _add_display(bp: Blueprint, config: ServerConfig, tokens: TokenService) -> None:
    """Public: the link's secret comes after its `#`, which browsers send to no server.

    So no log and no proxy has it, and a chat that fetches the link to preview it does not use it
    up: only the page's script sends it.
    """

    @bp.get("/auth/display")
    @hide
    async def display_page() -> str:
        return await render_template("display.html")

    @bp.post("/auth/display")
    @validate_response(DisplayOpened)
    @fails_with(400, 404, 413, 415, 503)
    @json_body(OpenLink)
    async def open_link(data: OpenLink) -> DisplayOpened:
        if not config.auth_on:
            raise Unavailable("Authentication is disabled", "AUTH_DISABLED")
        try:
            display, secret = await tokens.open_link(data.secret, address())
        except (Unauthenticated, NotFound):
            raise NotFound(
                "Unknown link", "LINK_UNKNOWN", "it was used, revoked or has expired"
            ) from None
        set_display_cookie(config, secret)
        return DisplayOpened("success", display.name)


def _view(token: ApiToken, now_ms: int) -> TokenView:
    return TokenView(
        name=token.name,
        role=token.role,
        tenant_id=token.tenant_id,
        display=token.kind != "api",
        zones=token.zones,
        state=state_of(token, now_ms),
        created_at=token.created_at,
        created_by=token.created_by,
        expires_at=token.expires_at or None,
        last_used=token.last_used or None,
    )
