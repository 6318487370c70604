"""The sync faces of users and sessions share accounts, locks and sessions with the log-in."""

from __future__ import annotations

import hashlib

import pytest

from server.common.errors import InvalidField
from tests.conftest import PASSWORD
from tests.support.http import AGENT, Caller, audited, lose_store

SALT = "0123456789abcdef" * 2
OLD_PASSWORD = "from the old server"


def pbkdf2(password: str, rounds: int = 100_000) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), SALT.encode(), rounds).hex()


async def test_an_account_created_with_an_old_hash_can_log_in(container, in_thread):
    users = container.services.users
    made = await in_thread(users.create_user, "olga", pbkdf2(OLD_PASSWORD), SALT)
    assert made == "olga"
    assert (await Caller(container.app).log_in("olga", OLD_PASSWORD)).status == 200


async def test_a_password_that_an_update_replaces_counts_as_a_former_one(container, in_thread):
    """ASVS 5.0 v5.0.0-6.3.4: no face leaves a rule for passwords out."""
    users = container.services.users
    await in_thread(users.create_user, "olga", pbkdf2(OLD_PASSWORD), SALT)
    new = {"password_hash": pbkdf2("another horse"), "salt": SALT, "password_history": []}
    for _ in range(2):
        assert await in_thread(users.update_user, "olga", new) is True
    kept = await container.base.stores.users.get_user_by_username("olga")
    assert len(kept.password_history) == 1
    with pytest.raises(InvalidField, match="password"):
        await container.base.admin.set_password("olga", OLD_PASSWORD)
    assert (await in_thread(users.get_user_by_id, "olga"))["password_history"] == []


async def test_an_account_may_have_its_own_hash_rounds_and_tenant(container, in_thread):
    users = container.services.users
    params = {"iterations": 1000}
    about = ("olga", pbkdf2(OLD_PASSWORD, 1000), SALT, "admin", params)
    assert await in_thread(users.create_user, *about, tenant_id="elsewhere") == "olga"
    answer = await Caller(container.app).log_in("olga", OLD_PASSWORD)
    assert answer.json()["user"] == {"username": "olga", "role": "admin"}
    assert (await in_thread(users.get_user_by_id, "olga"))["tenant_id"] == "elsewhere"


async def test_a_user_has_the_keys_of_the_existing_server(container, clock, in_thread):
    users = container.services.users
    await in_thread(users.create_user, "olga", pbkdf2(OLD_PASSWORD), SALT)
    user = await in_thread(users.get_user_by_username, "olga")
    assert user == await in_thread(users.get_user_by_id, "olga")
    assert user == {
        "user_id": "olga",
        "username": "olga",
        "password_hash": pbkdf2(OLD_PASSWORD),
        "salt": SALT,
        "role": "operator",
        "tenant_id": "default",
        "created_at": clock.now_ms(),
        "updated_at": clock.now_ms(),
        "last_login": 0,
        "failed_attempts": 0,
        "locked_until": 0,
        "password_history": [],
    }
    assert await in_thread(users.get_user_by_username, "nobody") is None


async def test_create_user_returns_none_on_a_refused_account_and_raises_on_an_invalid_hash(
    container, in_thread
):
    users = container.services.users
    digest = pbkdf2("x")
    assert await in_thread(users.create_user, "operator", digest, SALT) is None
    assert await in_thread(users.create_user, "no name", digest, SALT) is None
    assert await in_thread(users.create_user, "olga", digest, SALT, "emperor") is None
    for bad in (("short", SALT), (digest, ""), (digest, "not hex")):
        with pytest.raises(ValueError, match="hexadecimal"):
            await in_thread(users.create_user, "olga", *bad)
    with pytest.raises(TypeError):
        await in_thread(users.create_user, "olga", b"bytes", SALT)
    assert await in_thread(users.get_user_by_username, "olga") is None


async def test_a_user_locked_through_the_face_can_neither_log_in_nor_use_a_session(
    container, clock, in_thread
):
    users = container.services.users
    caller = Caller(container.app)
    assert (await caller.log_in("operator")).status == 200
    assert await in_thread(users.is_user_locked, "operator") is False
    day_ms = 86_400_000
    until = container.base.site_clock.now_ms() + day_ms
    assert await in_thread(users.lock_user, "operator", until) is True
    assert await in_thread(users.is_user_locked, "operator") is True
    assert (await caller.get("/auth/status")).status == 401
    assert (await Caller(container.app).log_in("operator")).status == 423
    assert (await in_thread(users.get_user_by_id, "operator"))["locked_until"] == until
    clock.advance(day_ms / 1000 - 1)
    assert (await Caller(container.app).log_in("operator")).status == 423
    clock.advance(1)
    assert await in_thread(users.is_user_locked, "operator") is False
    assert (await Caller(container.app).log_in("operator")).status == 200


async def test_failures_counted_through_the_face_and_at_log_in_add_up_to_a_lock(
    container, in_thread
):
    users = container.services.users
    for _ in range(4):
        assert await in_thread(users.increment_failed_attempts, "operator") is True
    assert (await in_thread(users.get_user_by_id, "operator"))["failed_attempts"] == 4
    await Caller(container.app).log_in("operator", "wrong password")
    assert await in_thread(users.is_user_locked, "operator") is True
    assert await in_thread(users.increment_failed_attempts, "operator") is False
    assert await in_thread(users.clear_failed_attempts, "operator") is True
    assert await in_thread(users.is_user_locked, "operator") is False
    assert (await in_thread(users.get_user_by_id, "operator"))["failed_attempts"] == 0
    assert (await Caller(container.app).log_in("operator")).status == 200


async def test_an_unknown_user_is_neither_counted_nor_locked_nor_changed(container, in_thread):
    users = container.services.users
    assert await in_thread(users.increment_failed_attempts, "nobody") is False
    assert await in_thread(users.lock_user, "nobody", 10**13) is False
    assert await in_thread(users.clear_failed_attempts, "nobody") is False
    assert await in_thread(users.update_last_login, "nobody") is False
    assert await in_thread(users.update_user, "nobody", {"role": "admin"}) is False
    assert await in_thread(users.is_user_locked, "nobody") is False


async def test_an_update_changes_the_account_and_its_failure_count_together(
    container, clock, in_thread
):
    users = container.services.users
    updates = {
        "role": "admin",
        "last_login": 7,
        "failed_attempts": 2,
        "password_history": ["kept nowhere"],
    }
    assert await in_thread(users.update_user, "operator", updates) is True
    user = await in_thread(users.get_user_by_id, "operator")
    assert (user["role"], user["last_login"], user["failed_attempts"]) == ("admin", 7, 2)
    assert await in_thread(users.update_last_login, "operator") is True
    assert (await in_thread(users.get_user_by_id, "operator"))["last_login"] == clock.now_ms()


async def test_an_update_with_one_invalid_value_changes_nothing(container, in_thread):
    users = container.services.users
    before = await in_thread(users.get_user_by_id, "operator")
    updates = {"role": "emperor", "failed_attempts": 3}
    assert await in_thread(users.update_user, "operator", updates) is False
    for wrong in (
        {"role": "admin", "username": "other"},
        {"role": "admin", "failed_attempts": -1},
        {"salt": SALT},
        {"role": "admin", "tenant_id": "two\nlines"},
    ):
        with pytest.raises(ValueError, match=r"cannot|from 0|comes with|printable"):
            await in_thread(users.update_user, "operator", wrong)
    assert await in_thread(users.get_user_by_id, "operator") == before


async def test_a_new_password_ends_the_account_s_sessions(container, in_thread):
    users = container.services.users
    caller = Caller(container.app)
    await caller.log_in("operator")
    updates = {"password_hash": pbkdf2(OLD_PASSWORD), "salt": SALT}
    assert await in_thread(users.update_user, "operator", updates) is True
    assert (await caller.get("/auth/status")).status == 401
    assert (await Caller(container.app).log_in("operator", PASSWORD)).status == 401
    assert (await Caller(container.app).log_in("operator", OLD_PASSWORD)).status == 200


async def test_update_password_takes_an_old_hash_and_ends_the_sessions_and_a_lock(
    container, in_thread
):
    users = container.services.users
    caller = Caller(container.app)
    await caller.log_in("operator")
    for _ in range(4):
        await in_thread(users.increment_failed_attempts, "operator")
    about = ("operator", pbkdf2(OLD_PASSWORD, 1000), SALT, {"iterations": 1000})
    assert await in_thread(users.update_password, *about) is True
    assert (await caller.get("/auth/status")).status == 401
    assert (await in_thread(users.get_by_username, "operator"))["failed_attempts"] == 0
    assert (await Caller(container.app).log_in("operator", OLD_PASSWORD)).status == 200
    assert await in_thread(users.update_password, "nobody", *about[1:]) is False
    with pytest.raises(ValueError, match="hexadecimal"):
        await in_thread(users.update_password, "operator", "short", SALT)


async def test_delete_user_deletes_the_account_and_its_sessions(container, in_thread):
    users = container.services.users
    caller = Caller(container.app)
    await caller.log_in("operator")
    assert await in_thread(users.delete_user, "operator") is True
    assert await in_thread(users.get_by_username, "operator") is None
    assert (await caller.get("/auth/status")).status == 401
    assert await in_thread(users.delete_user, "operator") is False
    (entry,) = await audited(container, "USER_DELETED")
    assert (entry.username, entry.details["user"]) == ("sync face", "operator")


@pytest.mark.parametrize(
    "updates", [{"role": "operator"}, {"tenant_id": "elsewhere"}, {"disabled": True}]
)
async def test_a_face_does_not_take_the_last_admin_away(container, in_thread, updates):
    users = container.services.users
    assert await in_thread(users.update_user, "admin", updates) is False
    assert await in_thread(users.delete_user, "admin") is False
    assert (await in_thread(users.get_by_username, "admin"))["role"] == "admin"
    assert (await Caller(container.app).log_in("admin")).status == 200


async def test_a_face_opens_no_session_of_a_disabled_account(container, in_thread):
    services = container.services
    assert await in_thread(services.users.update_user, "operator", {"disabled": True}) is True
    create = services.sessions.create_session
    assert await in_thread(create, "operator", "operator", "operator") is None


async def test_a_session_created_through_the_face_is_valid_on_the_routes(container, in_thread):
    sessions = container.services.sessions
    about = {"user_agent": AGENT, "ip_address": "192.0.2.1"}
    made = await in_thread(sessions.create_session, "admin", "admin", "read-only", 60, about)
    caller = Caller(container.app, headers={"User-Agent": AGENT, "X-Session-ID": made})
    status = (await caller.get("/auth/status")).json()
    assert (status["user"]["username"], status["user"]["role"]) == ("admin", "admin")
    assert 0 < status["expires_in"] <= 60
    cookie = {"Cookie": f"bas_session_id={made}"}
    other = Caller(container.app, headers={"User-Agent": "another browser", **cookie})
    assert (await other.get("/auth/status")).status == 200
    (entry,) = await audited(container, "USER_AGENT_CHANGED")
    assert (entry.username, entry.details["user_agent"]) == ("admin", "another browser")
    assert await in_thread(sessions.invalidate_session, made) is True
    assert (await caller.get("/auth/status")).status == 401
    assert await in_thread(sessions.invalidate_session, made) is True


async def test_a_session_opened_at_log_in_is_known_to_the_face_until_it_ends(
    container, clock, in_thread
):
    sessions = container.services.sessions
    caller = Caller(container.app)
    await caller.log_in("reader")
    session = await in_thread(sessions.get_session, caller.session)
    assert session == {
        "id": caller.session,
        "session_id": caller.session,
        "user_id": "reader",
        "username": "reader",
        "role": "read-only",
        "tenant_id": "default",
        "created_at": clock.now_ms(),
        "expires_at": clock.now_ms() + 1_800_000,
        "last_access": clock.now_ms(),
        "ip_address": caller.address,
    }
    clock.advance(1800)
    assert await in_thread(sessions.get_session, caller.session) is None
    assert await in_thread(sessions.get_session, "no such session") is None


async def test_the_face_extends_a_session_up_to_its_longest_life(container, clock, in_thread):
    sessions = container.services.sessions
    made = await in_thread(sessions.create_session, "admin", "admin", "admin", 40_000)
    clock.advance(30_000)
    assert await in_thread(sessions.update_session_access, made) is True
    session = await in_thread(sessions.get_session, made)
    assert session["last_access"] == clock.now_ms()
    assert session["expires_at"] == session["created_at"] + 43_200_000
    clock.advance(13_200)
    assert await in_thread(sessions.update_session_access, made) is False
    assert await in_thread(sessions.update_session_access, None) is False
    longest = await in_thread(sessions.create_session, "admin", "admin", "admin", 86_400)
    session = await in_thread(sessions.get_session, longest)
    assert session["expires_at"] - session["created_at"] == 43_200_000


async def test_a_rotated_session_goes_on_under_its_new_id_alone(container, clock, in_thread):
    """ASVS v5.0.0-7.2.4."""
    sessions = container.services.sessions
    caller = Caller(container.app)
    await caller.log_in("reader")
    before = await in_thread(sessions.get_session, caller.session)
    clock.advance(100)
    fresh = await in_thread(sessions.rotate_session, caller.session)
    assert await in_thread(sessions.get_session, caller.session) is None
    after = await in_thread(sessions.get_session, fresh)
    assert after == before | {"id": fresh, "session_id": fresh}
    assert (await caller.get("/auth/status")).status == 401
    caller.headers["X-Session-ID"] = fresh
    assert (await caller.get("/auth/status")).json()["expires_in"] == 1700
    for gone in ("no such session", None):
        assert await in_thread(sessions.rotate_session, gone) is None


async def test_the_face_ends_all_sessions_of_an_account(container, in_thread):
    sessions = container.services.sessions
    callers = [Caller(container.app) for _ in range(3)]
    for caller, name in zip(callers, ("reader", "reader", "operator"), strict=True):
        await caller.log_in(name)
    assert await in_thread(sessions.invalidate_user_sessions, "reader") == 2
    assert await in_thread(sessions.invalidate_user_sessions, "nobody") == 0
    assert await in_thread(sessions.cleanup_expired_sessions) == 0
    statuses = [(await caller.get("/auth/status")).status for caller in callers]
    assert statuses == [401, 401, 200]


async def test_a_session_without_a_known_user_agent_belongs_to_any_browser(container, in_thread):
    made = await in_thread(container.services.sessions.create_session, "admin", "admin", "admin")
    caller = Caller(container.app, headers={"User-Agent": AGENT, "X-Session-ID": made})
    assert (await caller.get("/auth/status")).status == 200
    assert await audited(container, "USER_AGENT_CHANGED") == []


async def test_a_request_without_a_session_id_has_no_session(container, in_thread):
    sessions = container.services.sessions
    assert await in_thread(sessions.get_session, None) is None
    assert await in_thread(sessions.invalidate_session, None) is True


async def test_a_face_opens_no_session_for_a_stranger_or_a_locked_user(container, in_thread):
    services = container.services
    create = services.sessions.create_session
    assert await in_thread(create, "nobody", "nobody", "admin") is None
    await in_thread(services.users.lock_user, "operator", 10**13)
    assert await in_thread(create, "operator", "operator", "operator") is None
    with pytest.raises(ValueError, match="expires_in_seconds"):
        await in_thread(create, "admin", "admin", "admin", 0)


async def test_without_the_store_no_user_is_known_and_nothing_changes(container, in_thread):
    users, sessions = container.services.users, container.services.sessions
    await lose_store(container)
    assert await in_thread(users.create_user, "olga", pbkdf2("x"), SALT) is None
    assert await in_thread(users.get_user_by_id, "admin") is None
    assert await in_thread(users.update_user, "admin", {"role": "operator"}) is False
    assert await in_thread(users.is_user_locked, "admin") is False
    assert await in_thread(sessions.create_session, "admin", "admin", "admin") is None
    assert await in_thread(sessions.get_session, "x" * 20) is None
    assert await in_thread(sessions.invalidate_session, "x" * 20) is False
    assert await in_thread(sessions.update_session_access, "x" * 20) is False
    assert await in_thread(sessions.rotate_session, "x" * 20) is None
    assert await in_thread(sessions.invalidate_user_sessions, "admin") == 0
