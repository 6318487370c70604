"""A tenant and the site keep an active admin, whatever is asked for."""

from __future__ import annotations

import pytest

from server.auth.account_audit import Actor
from server.auth.last_admin import LastAdmin
from tests.conftest import PASSWORD
from tests.support.http import Caller, logged_in

CONSOLE = Actor("operator at the console", "command line")
AWAY = [{"role": "operator"}, {"disabled": True}, {"tenant_id": "elsewhere"}]


@pytest.fixture
def users(container):
    return container.base.auth.users


@pytest.mark.parametrize(
    ("method", "body"),
    [("PATCH", {"role": "operator"}), ("PATCH", {"disabled": True}), ("DELETE", None)],
)
async def test_the_last_active_admin_of_a_tenant_cannot_be_taken_away(container, method, body):
    admin = await logged_in(container, "admin")
    more = {} if body is None else {"json": body}
    answer = await admin.open(method, "/api/users/admin", **more)
    assert (answer.status, answer.json()["code"]) == (409, "LAST_ADMIN")
    assert "default" in answer.json()["message"]
    assert (await admin.get("/auth/status")).status == 200


@pytest.mark.parametrize("changes", AWAY)
async def test_neither_the_console_nor_other_code_takes_the_last_admin_away(users, changes):
    with pytest.raises(LastAdmin):
        await users.change(CONSOLE, "admin", changes)
    with pytest.raises(LastAdmin):
        await users.delete(CONSOLE, "admin")
    assert (await users.get(CONSOLE, "admin")).user.role == "admin"


@pytest.mark.parametrize("changes", AWAY)
async def test_with_a_second_admin_of_the_tenant_the_first_may_go(users, changes):
    await users.create(CONSOLE, "second", PASSWORD, "admin", "default")
    await users.change(CONSOLE, "admin", changes)
    with pytest.raises(LastAdmin):
        await users.change(CONSOLE, "second", changes)


async def test_a_disabled_admin_is_no_second_one(users):
    await users.create(CONSOLE, "second", PASSWORD, "admin", "default")
    await users.change(CONSOLE, "second", {"disabled": True})
    with pytest.raises(LastAdmin):
        await users.delete(CONSOLE, "admin")
    # A disabled admin is not the last active one.
    await users.delete(CONSOLE, "second")


async def test_the_site_s_only_admin_without_a_tenant_may_get_one_and_may_not_go(users):
    await users.create(CONSOLE, "homeless", PASSWORD, "admin", "")
    for name in ("admin", "stranger"):
        # As if an earlier version had left only the one without a tenant.
        await users._users.update_user(name, {"disabled": True})
    with pytest.raises(LastAdmin, match="the site"):
        await users.delete(CONSOLE, "homeless")
    await users.change(CONSOLE, "homeless", {"tenant_id": "default"})
    with pytest.raises(LastAdmin, match="default"):
        await users.delete(CONSOLE, "homeless")


async def test_a_demoted_admin_may_do_no_more_than_the_new_role_at_once(container, users):
    """ASVS v5.0.0-8.3.2."""
    await users.create(CONSOLE, "second", PASSWORD, "admin", "default")
    second = Caller(container.app)
    await second.log_in("second")
    assert (await second.get("/api/users")).status == 200
    await users.change(CONSOLE, "second", {"role": "operator"})
    assert (await second.get("/api/users")).status == 401
