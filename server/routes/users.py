"""Routes of accounts: /api/users for admins, /auth/password for everyone's own."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import UNSET
from quart import Blueprint
from quart_schema import validate_querystring, validate_response

from server.auth.account_audit import Actor
from server.auth.accounts import Account, AccountService, Changed
from server.auth.factory import Auth
from server.auth.guard import Guard, address
from server.auth.own_password import OwnPassword
from server.auth.principal import Principal
from server.auth.session_watch import SessionWatch
from server.common.errors import Forbidden, Invalid
from server.config.config import ServerConfig
from server.routes.admitted import admitted
from server.routes.requests import fails_with, json_body
from server.routes.user_models import (
    NewPassword,
    NewUser,
    PasswordChange,
    SessionsEnded,
    UserChanged,
    UserPatch,
    UsersPage,
    UsersQuery,
    UserView,
)
from server.services.firestore.models import Role


def blueprint(config: ServerConfig, access: Auth, watch: SessionWatch) -> Blueprint:
    """Admins see and change the accounts of their own tenant; no other account exists for them.

    A move to another tenant is left to the command line: no role spans tenants.
    """
    bp = Blueprint("users", __name__)
    callers = _Callers(config, access, watch)
    _add_accounts(bp, access.guard, callers, access.users)
    _add_changes(bp, access.guard, callers, access.users)
    _add_own_password(bp, access.guard, callers, access.own_password)
    return bp


class _Callers(NamedTuple):
    """Checks callers beyond the guard, and makes their answers."""

    config: ServerConfig
    access: Auth
    watch: SessionWatch

    def admitted(self, principal: Principal, role: Role = "admin") -> Actor:
        """The caller, who needs a session of this role in every mode; see `admitted`."""
        return admitted(self.config, principal, role)

    async def changed(self, actor: Actor, done: Changed) -> UserChanged:
        """The answer to a change; streams of sessions that ended end soon."""
        self.watch.check_now()
        account = await self.access.users.get(actor, done.user.username)
        return UserChanged(True, _view(account), done.ended)

    def ended(self, count: int) -> SessionsEnded:
        """The answer to a change that ended so many sessions, and their streams soon."""
        self.watch.check_now()
        return SessionsEnded(True, count)


def _add_accounts(bp: Blueprint, guard: Guard, callers: _Callers, users: AccountService) -> None:
    caller = callers.admitted

    @bp.get("/api/users")
    @guard.require_auth("admin")
    @validate_response(UsersPage)
    @fails_with(400, 401, 403, 503)
    @validate_querystring(UsersQuery)
    async def list_users(query_args: UsersQuery, principal: Principal) -> UsersPage:
        actor = caller(principal)
        found, following = await users.page(actor, query_args.limit, query_args.start_after)
        return UsersPage([_view(one) for one in found], following, following is not None)

    @bp.post("/api/users")
    @guard.require_auth("admin")
    @validate_response(UserChanged)
    @fails_with(400, 401, 403, 409, 413, 415, 503)
    @json_body(NewUser)
    async def create(data: NewUser, principal: Principal) -> UserChanged:
        actor = caller(principal)
        user = await users.create(
            actor, data.username, data.password, data.role, principal.tenant_id
        )
        return UserChanged(True, _view(Account(user)), 0)

    @bp.get("/api/users/<username>")
    @guard.require_auth("admin")
    @validate_response(UserView)
    @fails_with(401, 403, 404, 503)
    async def one_user(username: str, principal: Principal) -> UserView:
        return _view(await users.get(caller(principal), username))


def _add_changes(bp: Blueprint, guard: Guard, callers: _Callers, users: AccountService) -> None:
    caller, changed = callers.admitted, callers.changed

    @bp.patch("/api/users/<username>")
    @guard.require_auth("admin")
    @validate_response(UserChanged)
    @fails_with(400, 401, 403, 404, 409, 413, 415, 503)
    @json_body(UserPatch)
    async def change(username: str, data: UserPatch, principal: Principal) -> UserChanged:
        actor = caller(principal)
        wanted = {"role": data.role, "disabled": data.disabled}
        changes: dict[str, Any] = {key: one for key, one in wanted.items() if one is not UNSET}
        if not changes:
            raise Invalid("Nothing to change", "NOTHING_TO_CHANGE", "name role or disabled")
        return await changed(actor, await users.change(actor, username, changes))

    @bp.delete("/api/users/<username>")
    @guard.require_auth("admin")
    @validate_response(SessionsEnded)
    @fails_with(401, 403, 404, 409, 503)
    async def delete(username: str, principal: Principal) -> SessionsEnded:
        return callers.ended(await users.delete(caller(principal), username))

    @bp.post("/api/users/<username>/password")
    @guard.require_auth("admin")
    @validate_response(UserChanged)
    @fails_with(400, 401, 403, 404, 413, 415, 503)
    @json_body(NewPassword)
    async def set_password(username: str, data: NewPassword, principal: Principal) -> UserChanged:
        actor = caller(principal)
        if username == principal.username:
            raise Forbidden(
                "Own password", "OWN_PASSWORD", "POST /auth/password with the old password"
            )
        return await changed(actor, await users.set_password(actor, username, data.password))

    @bp.post("/api/users/<username>/unlock")
    @guard.require_auth("admin")
    @validate_response(UserChanged)
    @fails_with(401, 403, 404, 503)
    async def unlock(username: str, principal: Principal) -> UserChanged:
        actor = caller(principal)
        return await changed(actor, Changed(await users.unlock(actor, username), 0))

    @bp.delete("/api/users/<username>/sessions")
    @guard.require_auth("admin")
    @validate_response(SessionsEnded)
    @fails_with(401, 403, 404, 503)
    async def end_sessions(username: str, principal: Principal) -> SessionsEnded:
        return callers.ended(await users.end_sessions(caller(principal), username))


def _add_own_password(
    bp: Blueprint, guard: Guard, callers: _Callers, passwords: OwnPassword
) -> None:
    @bp.post("/auth/password")
    @guard.require_auth("read-only")
    @validate_response(SessionsEnded)
    @fails_with(400, 401, 403, 409, 413, 415, 429, 503)
    @json_body(PasswordChange)
    async def own_password(data: PasswordChange, principal: Principal) -> SessionsEnded:
        callers.admitted(principal, "read-only")
        done = await passwords.change(principal, address(), data.old_password, data.password)
        return callers.ended(done.ended)


def _view(account: Account) -> UserView:
    user = account.user
    return UserView(
        username=user.username,
        role=user.role,
        tenant_id=user.tenant_id,
        state=account.state,
        failures=account.failures,
        locked_until=account.locked_until or None,
        last_login=user.last_login,
        created_at=user.created_at,
        updated_at=user.updated_at,
    )
