"""Accounts over the API: what admins see and change of their own tenant, and of no other."""

from __future__ import annotations

import asyncio

import pytest

from server.auth.account_audit import Actor
from server.services.ports.documents import Create
from tests.conftest import PASSWORD
from tests.support.http import ADDRESS, Caller, audited, logged_in, served
from tests.support.stream import eventually

NEW = "a new long password"
CHANGES = [
    ("GET", "", None),
    ("PATCH", "", {"role": "admin"}),
    ("PATCH", "", {"disabled": True}),
    ("DELETE", "", None),
    ("POST", "/password", {"password": NEW}),
    ("POST", "/unlock", None),
    ("DELETE", "/sessions", None),
]


async def ask(caller, method, path, body=None):
    return await caller.open(method, path, **({} if body is None else {"json": body}))


@pytest.fixture
async def admin(container):
    return await logged_in(container, "admin")


async def test_an_admin_creates_an_account_that_can_log_in(container, admin, clock):
    body = {"username": "kim", "password": NEW, "role": "operator"}
    answer = await admin.post("/api/users", body)
    assert answer.status == 200, answer.body
    now = clock.now_ms()
    assert answer.json() == {
        "success": True,
        "sessions_ended": 0,
        "user": {
            "username": "kim",
            "role": "operator",
            "tenant_id": "default",
            "state": "active",
            "failures": 0,
            "locked_until": None,
            "last_login": None,
            "created_at": now,
            "updated_at": now,
        },
    }
    assert (await Caller(container.app).log_in("kim", NEW)).status == 200
    (entry,) = await audited(container, "USER_CREATED")
    assert (entry.username, entry.address) == ("admin", ADDRESS)
    assert entry.details == {"user": "kim", "role": "operator"}


@pytest.mark.parametrize("name", ["reader", "Reader", "READER"])
async def test_a_new_name_differs_from_every_other_one_also_without_case(admin, name):
    answer = await admin.post("/api/users", {"username": name, "password": NEW, "role": "operator"})
    assert (answer.status, answer.json()["code"]) == (409, "USER_EXISTS")
    assert answer.json()["message"] == f"users/{name}"


async def test_a_name_that_was_deleted_may_be_used_again(container, admin):
    for name in ("Kim", "kim"):
        body = {"username": name, "password": NEW, "role": "operator"}
        assert (await admin.post("/api/users", body)).status == 200
        assert (await admin.open("DELETE", f"/api/users/{name}")).status == 200
    assert (await Caller(container.app).log_in("kim", NEW)).status == 401


async def test_names_of_before_that_differ_in_case_alone_work_as_they_are_spelled(container, admin):
    client, users = container.base.client, container.base.stores.users
    for name in ("Pat", "pat"):
        # As an earlier version stored them: without a document of the name.
        password_hash = await container.base.auth.passwords.hash(f"{PASSWORD} of {name}")
        await users.create_user("between", password_hash, "operator", "default")
        fields = (await client.get("users", "between")).fields
        await client.write(
            [
                *await users.deletion("between", None),
                Create("users", name, fields | {"username": name, "user_id": name}),
            ]
        )
    for name in ("Pat", "pat"):
        assert (await Caller(container.app).log_in(name, f"{PASSWORD} of {name}")).status == 200
    body = {"username": "PAT", "password": NEW, "role": "operator"}
    assert (await admin.post("/api/users", body)).status == 409
    assert (await admin.open("DELETE", "/api/users/Pat")).status == 200
    assert (await Caller(container.app).log_in("pat", f"{PASSWORD} of pat")).status == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"password": NEW, "role": "operator"}, "username"),
        ({"username": "a b", "password": NEW, "role": "operator"}, "username"),
        ({"username": 7, "password": NEW, "role": "operator"}, "username"),
        ({"username": "kim", "password": "short", "role": "operator"}, "password"),
        ({"username": "kim", "password": None, "role": "operator"}, "password"),
        ({"username": "kim", "password": NEW, "role": "emperor"}, "role"),
        ({"username": "kim", "password": NEW}, "role"),
    ],
)
async def test_a_wrong_field_of_a_new_account_is_named_and_nothing_is_created(
    container, admin, body, field
):
    answer = await admin.post("/api/users", body)
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert answer.json()["message"].startswith(f"{field}:")
    assert await container.base.stores.users.get_user_by_username("kim") is None


@pytest.mark.parametrize(
    "body", [{"role": "emperor"}, {"disabled": "yes"}, {"disabled": None}, {"role": 3}, [], "x"]
)
async def test_a_change_with_a_wrong_value_changes_nothing(container, admin, body):
    answer = await admin.open("PATCH", "/api/users/reader", json=body)
    assert answer.status == 400
    user = await container.base.stores.users.get_user_by_username("reader")
    assert (user.role, user.disabled) == ("read-only", False)


@pytest.mark.parametrize(
    ("body", "code"),
    [({}, "NOTHING_TO_CHANGE"), ({"tenant_id": "elsewhere"}, "INVALID_JSON")],
)
async def test_no_admin_moves_an_account_to_another_tenant(container, admin, body, code):
    """ASVS v5.0.0-8.2.3: a field that the caller may not write is refused."""
    answer = await admin.open("PATCH", "/api/users/reader", json=body)
    assert (answer.status, answer.json()["code"]) == (400, code)
    user = await container.base.stores.users.get_user_by_username("reader")
    assert user.tenant_id == "default"


async def test_the_list_shows_how_each_account_of_the_tenant_stands(container, admin, clock):
    guesser = Caller(container.app, address="192.0.2.99")
    await guesser.log_in("reader", "a wrong password")
    await admin.open("PATCH", "/api/users/operator", json={"disabled": True})
    answer = await admin.get("/api/users")
    page = answer.json()
    assert (page["last_doc_id"], page["has_more"]) == (None, False)
    shown = {
        one["username"]: (one["state"], one["failures"], one["last_login"]) for one in page["data"]
    }
    assert shown == {
        "admin": ("active", 0, clock.now_ms()),
        "operator": ("disabled", 0, None),
        "reader": ("active", 1, None),
    }
    assert "password" not in answer.body.decode()


async def test_the_list_comes_in_pages(admin):
    names, after = [], ""
    while True:
        page = (await admin.get(f"/api/users?limit=2{after}")).json()
        assert len(page["data"]) <= 2
        names += [one["username"] for one in page["data"]]
        if not page["has_more"]:
            break
        after = f"&start_after={page['last_doc_id']}"
    assert names == ["admin", "operator", "reader"]
    for wrong in ("limit=0", "limit=1001", "start_after=x"):
        assert (await admin.get(f"/api/users?{wrong}")).status == 400


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_an_account_of_another_tenant_does_not_exist_for_an_admin(
    container, admin, method, path, body
):
    """ASVS v5.0.0-8.4.1: the answer is that for a name without an account."""
    before = await container.base.stores.users.get_user_by_username("stranger")
    other = await ask(admin, method, f"/api/users/stranger{path}", body)
    none = await ask(admin, method, f"/api/users/strangex{path}", body)
    assert other.status == none.status == 404
    assert other.body.replace(b"stranger", b"strangex") == none.body
    assert await container.base.stores.users.get_user_by_username("stranger") == before
    assert (await Caller(container.app).log_in("stranger")).status == 200


@pytest.mark.parametrize("name", ["reader", "operator"])
@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
async def test_only_an_admin_may_see_or_change_accounts(container, name, method, path, body):
    """ASVS v5.0.0-8.2.1."""
    caller = await logged_in(container, name)
    assert (await ask(caller, method, f"/api/users/{name}{path}", body)).status == 403
    assert (await caller.get("/api/users")).status == 403
    assert (
        await ask(Caller(container.app), method, f"/api/users/{name}{path}", body)
    ).status == 401


@pytest.mark.parametrize(
    ("settings", "status"), [({"auth_mode": "shadow"}, 403), ({"auth_enabled": False}, 503)]
)
async def test_no_mode_lets_a_caller_without_the_role_change_accounts(
    config, clock, settings, status
):
    """ASVS v5.0.0-8.3.1: what shadow mode lets through must make no account that stays."""
    async with served(config, clock, **settings) as container:
        caller = Caller(container.app)
        if status == 403:
            assert (await caller.post("/api/users", {})).status == 400  # the body is read first
            body = {"username": "kim", "password": NEW, "role": "admin"}
            assert (await caller.post("/api/users", body)).status == 401
            await caller.log_in("reader")
        body = {"username": "kim", "password": NEW, "role": "admin"}
        assert (await caller.post("/api/users", body)).status == status
        assert (await caller.get("/api/users")).status == status
        patch = await caller.open("PATCH", "/api/users/reader", json={"role": "admin"})
        assert patch.status == status
        own = {"old_password": PASSWORD, "password": NEW}
        assert (await caller.post("/auth/password", own)).status == (200 if status == 403 else 503)
        assert len(await container.base.stores.users.list_users()) == 4


@pytest.mark.parametrize(
    ("method", "path", "body", "action", "details"),
    [
        ("PATCH", "", {"role": "read-only"}, "USER_ROLE_CHANGED",
         {"old_role": "operator", "role": "read-only"}),
        ("PATCH", "", {"role": "admin"}, "USER_ROLE_CHANGED",
         {"old_role": "operator", "role": "admin"}),
        ("PATCH", "", {"disabled": True}, "USER_DISABLED", {}),
        ("DELETE", "", None, "USER_DELETED", {"role": "operator"}),
        ("POST", "/password", {"password": NEW}, "PASSWORD_SET", {}),
        ("DELETE", "/sessions", None, "SESSIONS_ENDED", {}),
    ],
)  # fmt: skip
async def test_a_change_ends_the_account_s_sessions_and_is_audited(
    container, admin, method, path, body, action, details
):
    """ASVS v5.0.0-7.4.2 and v5.0.0-7.4.5; v5.0.0-16.2.1 for the entry."""
    callers = [await logged_in(container, "operator") for _ in range(2)]
    answer = await ask(admin, method, f"/api/users/operator{path}", body)
    assert (answer.status, answer.json()["sessions_ended"]) == (200, 2)
    assert [(await one.get("/auth/status")).status for one in callers] == [401, 401]
    (entry,) = await audited(container, action)
    assert (entry.username, entry.details) == (
        "admin",
        {"user": "operator", "sessions_ended": 2, **details},
    )


async def test_a_change_to_what_is_so_already_ends_no_session_and_is_not_audited(container, admin):
    caller = await logged_in(container, "operator")
    for body in ({"role": "operator"}, {"disabled": False}):
        answer = await admin.open("PATCH", "/api/users/operator", json=body)
        assert (answer.status, answer.json()["sessions_ended"]) == (200, 0)
    assert (await caller.get("/auth/status")).status == 200
    assert await audited(container, "USER_ROLE_CHANGED") == []


async def test_a_disabled_account_is_refused_like_a_wrong_password_until_it_is_enabled(
    container, admin
):
    """ASVS v5.0.0-6.3.8: the answer does not show that the password is right."""
    await admin.open("PATCH", "/api/users/reader", json={"disabled": True})
    right, wrong = [
        await Caller(container.app).log_in("reader", password)
        for password in (PASSWORD, "a wrong password")
    ]
    assert (right.status, right.body) == (wrong.status, wrong.body) == (401, wrong.body)
    assert len(await audited(container, "LOGIN_FAILURE")) == 2
    assert await container.base.stores.sessions.sessions_of("reader") == []
    await admin.open("PATCH", "/api/users/reader", json={"disabled": False})
    assert (await Caller(container.app).log_in("reader")).status == 200
    (entry,) = await audited(container, "USER_ENABLED")
    assert entry.details == {"user": "reader", "sessions_ended": 0}


async def test_a_session_of_a_disabled_account_is_dead_even_if_it_is_still_stored(container):
    """ASVS v5.0.0-8.3.2: the account is asked at each request."""
    caller = await logged_in(container, "reader")
    await container.base.stores.users.update_user("reader", {"disabled": True})
    assert (await caller.get("/api/telemetry")).status == 401
    sessions = await container.base.stores.sessions.sessions_of("reader")
    owner = f"{sessions[0].digest}:read-only"
    assert await container.base.auth.sessions.ends({owner}) == {}
    assert await container.base.auth.sessions.alive(caller.session) is None


async def test_unlock_lets_a_locked_user_log_in_again(container, admin):
    guesser = Caller(container.app, address="192.0.2.99")
    for _ in range(5):
        await guesser.log_in("reader", "a wrong password")
    shown = (await admin.get("/api/users/reader")).json()
    assert (shown["state"], shown["failures"]) == ("locked", 5)
    assert shown["locked_until"] > shown["created_at"]
    answer = await admin.post("/api/users/reader/unlock")
    assert (answer.status, answer.json()["user"]["state"]) == (200, "active")
    assert (await Caller(container.app).log_in("reader")).status == 200
    (entry,) = await audited(container, "USER_UNLOCKED")
    assert (entry.username, entry.details) == ("admin", {"user": "reader"})


async def test_a_new_password_ends_a_lock(container, admin):
    guesser = Caller(container.app, address="192.0.2.99")
    for _ in range(5):
        await guesser.log_in("reader", "a wrong password")
    assert (await admin.post("/api/users/reader/password", {"password": NEW})).status == 200
    assert (await Caller(container.app).log_in("reader", NEW)).status == 200


async def test_an_admin_sets_the_own_password_only_with_the_old_one(container, admin):
    """ASVS v5.0.0-6.2.3: a stolen session of an admin does not take the account over."""
    answer = await admin.post("/api/users/admin/password", {"password": NEW})
    assert (answer.status, answer.json()["code"]) == (403, "OWN_PASSWORD")
    assert (await Caller(container.app).log_in("admin")).status == 200


async def test_a_caller_that_hangs_up_leaves_a_whole_change_behind(container):
    """ASVS v5.0.0-2.3.3: an account changes with its entry and its sessions, or not at all."""
    caller = await logged_in(container, "operator")
    users = container.base.auth.users
    task = asyncio.create_task(users.change(Actor("admin", ADDRESS), "operator", {"role": "admin"}))
    await asyncio.sleep(0)  # it has begun
    task.cancel()

    async def is_done() -> bool:
        return bool(await audited(container, "USER_ROLE_CHANGED"))

    await eventually(is_done, "the change is made")
    assert task.cancelled()
    user = await container.base.stores.users.get_user_by_username("operator")
    assert user.role == "admin"
    assert (await caller.get("/auth/status")).status == 401


async def test_a_session_that_is_opened_during_a_change_ends_too(container, monkeypatch):
    """ASVS v5.0.0-7.4.2: also one of other code, which does not write the account."""
    base = container.base
    user = await base.stores.users.get_user_by_username("reader")
    list_sessions = base.stores.sessions.sessions_of
    opened = []

    async def list_and_open(username):
        found = await list_sessions(username)
        if not opened:
            opened.append(True)
            _, writes, _ = await base.auth.sessions.opening(user, "agent", ADDRESS)
            await base.client.write(writes)
        return found

    monkeypatch.setattr(base.stores.sessions, "sessions_of", list_and_open)
    await base.auth.users.change(Actor("admin", ADDRESS), "reader", {"role": "operator"})
    assert await list_sessions("reader") == []
