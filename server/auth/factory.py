"""Wires the parts of auth by hand, over the stores."""

from __future__ import annotations

from dataclasses import dataclass

from server.auth.accounts import AccountService
from server.auth.attempts import AttemptLimiter
from server.auth.device_keys import DeviceKeys
from server.auth.guard import Guard
from server.auth.key_service import KeyService
from server.auth.key_uses import KeyUses
from server.auth.lockout import Lockout
from server.auth.login import LoginService
from server.auth.own_password import OwnPassword
from server.auth.password_rules import PasswordRules
from server.auth.passwords import Passwords
from server.auth.principal import TOKEN_OWNER
from server.auth.sessions import SessionService
from server.auth.tenants import TenantService
from server.auth.tokens import TokenService
from server.auth.wrong_keys import WrongKeys
from server.common.clock import Clock
from server.common.metrics import Metrics
from server.common.session_end import SessionEnd
from server.config.config import ServerConfig
from server.services.firestore.service_factory import Stores


@dataclass(frozen=True)
class Auth:
    """The services that decide who may do what. Close `passwords`, which has threads."""

    passwords: Passwords
    sessions: SessionService
    logins: LoginService
    keys: DeviceKeys
    key_service: KeyService
    key_uses: KeyUses
    guard: Guard
    lockout: Lockout
    users: AccountService
    own_password: OwnPassword
    tenants: TenantService
    tokens: TokenService

    async def ends(self, owners: set[str]) -> dict[str, SessionEnd]:
        """When the sessions and tokens of these stream owners end; at most BATCH_MAX.

        An owner whose session, role or token no longer exists is missing.
        """
        of_tokens = {owner for owner in owners if owner.startswith(TOKEN_OWNER)}
        found = await self.tokens.ends(of_tokens) if of_tokens else {}
        if of_sessions := owners - of_tokens:
            found |= await self.sessions.ends(of_sessions)
        return found


def create_auth(config: ServerConfig, stores: Stores, clock: Clock, metrics: Metrics) -> Auth:
    """Create auth over `stores`, as configured.

    `clock` must be the same for all processes on the stores.
    """
    lockout = Lockout(
        stores.client,
        stores.reads,
        clock,
        limit=config.max_login_attempts,
        lock_s=config.lockout_duration,
        address_limit=config.auth_attempts_per_15min,
    )
    rules = PasswordRules(config.password_min_length, config.password_history_count)
    passwords = Passwords(rules=rules)
    sessions = SessionService(
        stores.sessions,
        stores.users,
        lockout.accounts,
        clock,
        timeout_s=config.session_timeout,
        absolute_s=config.session_absolute,
        max_per_user=config.max_concurrent_sessions,
    )
    logins = LoginService(
        client=stores.client,
        users=stores.users,
        sessions=sessions,
        passwords=passwords,
        lockout=lockout,
        audit=stores.audit,
        clock=clock,
        metrics=metrics,
    )
    users = AccountService(
        client=stores.client,
        users=stores.users,
        sessions=stores.sessions,
        lockout=lockout,
        passwords=passwords,
        audit=stores.audit,
        clock=clock,
        work=logins.work,
    )
    guesses = AttemptLimiter(
        stores.client,
        stores.reads,
        clock,
        "password",
        limit=config.max_login_attempts,
        window_s=config.lockout_duration,
        lock_s=config.lockout_duration,
    )
    wrong_keys = WrongKeys(clock)  # of devices and of programs together
    key_uses = KeyUses(stores.device_keys, clock)
    tokens = TokenService(stores.tokens, stores.audit, stores.watch, clock, logins.work)
    return Auth(
        passwords=passwords,
        sessions=sessions,
        logins=logins,
        keys=DeviceKeys(
            stores.devices,
            stores.device_keys,
            config.device_auth,
            stores.watch,
            wrong_keys,
            key_uses,
        ),
        key_service=KeyService(stores.devices, stores.device_keys, stores.audit),
        key_uses=key_uses,
        guard=Guard(config, sessions, tokens, wrong_keys, stores.audit, clock, metrics),
        lockout=lockout,
        users=users,
        own_password=OwnPassword(users, passwords, guesses, stores.audit, logins.work),
        tokens=tokens,
        tenants=TenantService(stores.tenants, stores.users, lockout, stores.audit),
    )
