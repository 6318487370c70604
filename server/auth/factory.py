"""One of each part of auth, wired by hand over the stores."""

from __future__ import annotations

from dataclasses import dataclass

from server.auth.device_keys import DeviceKeys
from server.auth.guard import Guard
from server.auth.login import LoginService
from server.auth.passwords import Passwords
from server.auth.rate_limit import AttemptLimiter
from server.auth.sessions import SessionService
from server.auth.wrong_keys import WrongKeys
from server.clock import Clock
from server.config.config import ServerConfig
from server.metrics import Metrics
from server.services.firestore.service_factory import Stores

ADDRESS_WINDOW_S = 15 * 60


@dataclass(frozen=True)
class Auth:
    """Who may do what. Close `passwords`, which has threads."""

    passwords: Passwords
    sessions: SessionService
    logins: LoginService
    keys: DeviceKeys
    guard: Guard
    accounts: AttemptLimiter


def create_auth(config: ServerConfig, stores: Stores, clock: Clock, metrics: Metrics) -> Auth:
    """Auth over `stores`, as configured."""
    accounts = AttemptLimiter(
        stores.client,
        stores.reads,
        clock,
        "user",
        limit=config.max_login_attempts,
        window_s=config.lockout_duration,
        lock_s=config.lockout_duration,
    )
    addresses = AttemptLimiter(
        stores.client,
        stores.reads,
        clock,
        "address",
        limit=config.auth_attempts_per_15min,
        window_s=ADDRESS_WINDOW_S,
        lock_s=ADDRESS_WINDOW_S,
    )
    passwords = Passwords()
    sessions = SessionService(
        stores.sessions,
        stores.users,
        accounts,
        clock,
        timeout_s=config.session_timeout,
        max_per_user=config.max_concurrent_sessions,
    )
    logins = LoginService(
        client=stores.client,
        users=stores.users,
        sessions=sessions,
        passwords=passwords,
        accounts=accounts,
        addresses=addresses,
        audit=stores.audit,
        clock=clock,
        metrics=metrics,
    )
    return Auth(
        passwords=passwords,
        sessions=sessions,
        logins=logins,
        keys=DeviceKeys(stores.devices, config.device_auth, stores.watch, WrongKeys(clock)),
        guard=Guard(config, sessions, stores.audit, metrics),
        accounts=accounts,
    )
