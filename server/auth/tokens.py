"""TokenService: makes, checks and revokes the tokens of programs and of wall screens."""

from __future__ import annotations

import logging
import re
import secrets
from typing import Literal, NamedTuple

from server.auth.account_audit import Actor
from server.auth.principal import DEFAULT_TENANT, TOKEN_OWNER, Principal
from server.auth.sessions import digest
from server.common.bearer import TOKEN_PREFIX
from server.common.clock import Clock
from server.common.errors import Conflict, InvalidField, Unauthenticated, Unavailable
from server.common.session_end import SessionEnd
from server.common.shielded_tasks import ShieldedTasks
from server.services.firestore.audit_store import AuditStore
from server.services.firestore.models import DAY_MS, LATEST_MS, ApiToken, Role, TokenKind
from server.services.firestore.store_watch import StoreWatch
from server.services.firestore.tokens_store import TokensStore
from server.services.ports.documents import Create, StoreUnavailable, VersionConflict

log = logging.getLogger(__name__)

SECRET_MAX = 256
# Tokens of one tenant, and zones of one token.
TOKENS_MAX, ZONES_MAX = 500, 100
LIFE_MAX_S = 3650 * 86_400
# The time of the last use is stored when it is this old: at most one write a minute for each token.
USED_STEP_MS = 60_000
# A link that nobody opened is a secret in a chat or on paper: it ends by itself.
LINK_LIFE_MS = DAY_MS
# A revoked token is known for so long, so that the audit log names one that is still used.
REVOKED_DAYS = 90
# Tokens that this process keeps for the time when the store is away; about 1 KB each.
REMEMBERED_MAX = 1000
# One that was not used for this long may have been revoked since, and no refusal has shown it.
REMEMBERED_S = 300.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class TokenRefused(Unauthenticated):
    """No valid token has this secret. `token` is the one that was revoked or has expired."""

    error = "Invalid token"
    code = "INVALID_TOKEN"

    def __init__(self, token: ApiToken | None = None, code: str | None = None) -> None:
        super().__init__(code=code, message="it is unknown, revoked or expired: create another one")
        self.token = token


class NewToken(NamedTuple):
    """What a token shall be: of a display if `display`, and valid for `life_s` seconds.

    Without `life_s` it is valid until it is revoked; without `zones` it may see all of its tenant.
    """

    name: str
    role: Role = "read-only"
    zones: tuple[str, ...] = ()
    life_s: int | None = None
    display: bool = False


class TokenService:
    """Tokens of 256 random bits, of which only a SHA-256 digest is stored.

    Such a secret needs no slow hash: nobody can guess it. It is looked up by its digest, so the
    time of an answer says nothing about the secrets that exist. A token belongs to its tenant, not
    to the account that made it: it stays when that account goes.
    """

    def __init__(
        self,
        tokens: TokensStore,
        audit: AuditStore,
        watch: StoreWatch,
        clock: Clock,
        work: ShieldedTasks,
    ) -> None:
        self._tokens = tokens
        self._audit = audit
        self._watch = watch
        self._clock = clock
        self._work = work
        # The tokens whose last use is being stored.
        self._noting: set[str] = set()
        self._remembered: dict[str, tuple[ApiToken, float]] = {}

    async def create(self, actor: Actor, tenant_id: str, new: NewToken) -> tuple[ApiToken, str]:
        """Make a token; return it with its secret, which cannot be read later.

        Raises InvalidField, TokenExists, Conflict.
        """
        _check(new)
        if len(await self._tokens.list_tokens(tenant_id)) >= TOKENS_MAX:
            raise Conflict(
                "Too many tokens", "TOO_MANY_TOKENS", f"a tenant has at most {TOKENS_MAX}"
            )
        secret, now = _secret(), self._clock.now_ms()
        token = ApiToken(
            digest=digest(secret),
            name=new.name,
            tenant_id=tenant_id,
            role=new.role,
            kind="link" if new.display else "api",
            zones=sorted(set(new.zones)),
            created_at=now,
            created_by=actor.name,
            expires_at=0 if new.life_s is None else now + new.life_s * 1000,
        )
        more = {"role": token.role, "zones": token.zones, "expires_at": token.expires_at}
        entry = self._entry("TOKEN_CREATED", actor.name, actor.address, token, **more)
        await self._tokens.create(token, entry)
        return token, secret

    async def listed(self, tenant_id: str | None) -> list[ApiToken]:
        """The tokens of a tenant, or of all, by tenant and name: also expired ones."""
        return await self._tokens.list_tokens(tenant_id)

    async def revoke(self, actor: Actor, tenant_id: str, name: str) -> ApiToken:
        """Revoke the token of this name. Raises NoSuchToken."""
        now = self._clock.now_ms()
        about = ApiToken(digest="-", name=name or "-", tenant_id=tenant_id, role="read-only")
        entry = self._entry("TOKEN_REVOKED", actor.name, actor.address, about)
        token = await self._tokens.revoke(tenant_id, name, now, now + REVOKED_DAYS * DAY_MS, entry)
        self._remembered.pop(token.digest, None)
        return token

    async def open_link(self, secret: str, address: str) -> tuple[ApiToken, str]:
        """Open a display's link: return the display and the secret for its cookie.

        A link can be opened once. Raises TokenRefused, NoSuchToken.
        """
        link = await self._valid(secret, "link", fresh=True)
        fresh = _secret()
        entry = self._entry("DISPLAY_OPENED", user_of(link), address, link)
        return await self._tokens.open_link(link, digest(fresh), entry), fresh

    async def principal(
        self, secret: str, kind: TokenKind = "api", *, remembered: bool = False
    ) -> Principal:
        """The caller that sends this secret. Raises TokenRefused.

        With `remembered`, a token that is in use is valid while the store is away: the devices
        behind it must be answered.
        """
        if remembered and self._watch.error is not None:
            return self._last_known(secret, kind, self._watch.error)
        try:
            token = await self._valid(secret, kind)
        except StoreUnavailable as error:
            if not remembered:
                raise
            return self._last_known(secret, kind, error)
        self._remember(token)
        self._note_use(token)
        return self._principal(token)

    def _last_known(self, secret: str, kind: TokenKind, error: StoreUnavailable) -> Principal:
        token, used = self._remembered.get(digest(secret), (None, 0.0))
        is_recent = self._clock.monotonic() - used <= REMEMBERED_S
        if token is None or token.kind != kind or not is_recent:
            raise error
        self._remember(token)
        return self._principal(self._in_time(token))

    async def ends(self, owners: set[str]) -> dict[str, SessionEnd]:
        """When the tokens of these stream owners end; an owner whose token has ended is missing."""
        digests = {owner.removeprefix(TOKEN_OWNER): owner for owner in owners}
        found = await self._tokens.get_many(sorted(digests))
        now = self._clock.now_ms()
        ends = {}
        for token in found.values():
            if not token.revoked_at and now < _end_ms(token):
                self._note_use(token)
                ends[digests[token.digest]] = SessionEnd(_end_ms(token), extendable=False)
        return ends

    async def _valid(self, secret: str, kind: TokenKind, *, fresh: bool = False) -> ApiToken:
        if not secret.startswith(TOKEN_PREFIX) or len(secret) > SECRET_MAX:
            raise TokenRefused
        secret_digest = digest(secret)
        token = await self._tokens.get(secret_digest, fresh=fresh)
        if token is None and not fresh:  # only a fresh document may refuse
            token = await self._tokens.get(secret_digest, fresh=True)
        if token is None or token.revoked_at:
            self._remembered.pop(secret_digest, None)
            raise TokenRefused(token)
        if token.kind != kind:
            raise TokenRefused
        return self._in_time(token)

    def _in_time(self, token: ApiToken) -> ApiToken:
        if state_of(token, self._clock.now_ms()) == "expired":
            raise TokenRefused(token, "TOKEN_EXPIRED")
        return token

    def _principal(self, token: ApiToken) -> Principal:
        return Principal(
            username=user_of(token),
            role=token.role,
            tenant_id=token.tenant_id,
            login_time=token.created_at,
            end=SessionEnd(_end_ms(token), extendable=False),
            token=token.digest,
            zones=frozenset(token.zones),
            kind=_said(token.kind),
        )

    def _remember(self, token: ApiToken) -> None:
        if token.digest not in self._remembered and len(self._remembered) >= REMEMBERED_MAX:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[token.digest] = token, self._clock.monotonic()

    def _note_use(self, token: ApiToken) -> None:
        now = self._clock.now_ms()
        if abs(now - token.last_used) < USED_STEP_MS or token.digest in self._noting:
            return
        self._noting.add(token.digest)
        self._work.begin(self._store_use(token.digest, now))

    async def _store_use(self, token_digest: str, now_ms: int) -> None:
        try:
            await self._tokens.set_last_used(token_digest, now_ms)
        except VersionConflict:
            pass  # it was deleted at this moment
        except Unavailable as error:
            log.warning("a token's last use could not be stored, its next use retries: %s", error)
        finally:
            self._noting.discard(token_digest)

    def _entry(
        self, action: str, by: str, address: str, token: ApiToken, **details: object
    ) -> Create:
        return self._audit.entry(
            action,
            tenant_id=token.tenant_id or DEFAULT_TENANT,
            username=by,
            address=address,
            details={"token": token.name, "kind": _said(token.kind), **details},
        )


def user_of(token: ApiToken) -> str:
    """The name under which the token acts; no account has one with a colon."""
    return f"{_said(token.kind)}:{token.name}"


def state_of(token: ApiToken, now_ms: int) -> Literal["valid", "expired", "unopened"]:
    """Whether the token is valid now; a display is `unopened` until its link was used."""
    if now_ms >= _end_ms(token) or now_ms >= _link_end_ms(token):
        return "expired"
    return "unopened" if token.kind == "link" else "valid"


def link_path(secret: str) -> str:
    """The path of a display's link; browsers send what follows the `#` to no server."""
    return f"/auth/display#{secret}"


def _said(kind: TokenKind) -> Literal["token", "display"]:
    return "token" if kind == "api" else "display"


def _end_ms(token: ApiToken) -> int:
    return token.expires_at or LATEST_MS


def _link_end_ms(token: ApiToken) -> int:
    return token.created_at + LINK_LIFE_MS if token.kind == "link" else LATEST_MS


def _secret() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def _check(new: NewToken) -> None:
    """Raise InvalidField for what no token may be."""
    if not _NAME.fullmatch(new.name):
        raise InvalidField("name", "1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit")
    if new.role not in {"read-only", "operator"}:
        raise InvalidField("role", "a token is read-only or operator")
    if new.display and new.role != "read-only":
        raise InvalidField("role", "a display is read-only")
    if len(new.zones) > ZONES_MAX:
        raise InvalidField("zones", f"at most {ZONES_MAX}")
    if any(not 1 <= len(zone) <= 128 or not zone.isprintable() for zone in new.zones):
        raise InvalidField("zones", "each has 1 to 128 printable characters")
    if new.life_s is not None and not 1 <= new.life_s <= LIFE_MAX_S:
        raise InvalidField("expires_in", f"1 to {LIFE_MAX_S} seconds")
