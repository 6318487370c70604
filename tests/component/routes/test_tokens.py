"""/api/tokens: an admin makes, lists and revokes the tokens of the own tenant."""

from __future__ import annotations

import pytest

from tests.support.http import Caller, audited, logged_in
from tests.support.tokens import program, sending, token

PATH = "/api/tokens"


@pytest.fixture
async def admin(container):
    return await logged_in(container, "admin")


async def test_a_token_is_shown_once_and_works_at_once(container, admin, clock):
    body = {"name": "grafana", "role": "operator", "zones": ["lab"], "expires_in": 3600}
    answer = await admin.post(PATH, body)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    made = answer.json()
    view = made["token"]
    assert view == {
        **{"name": "grafana", "role": "operator", "tenant_id": "default", "display": False},
        **{"zones": ["lab"], "state": "valid", "created_at": clock.now_ms()},
        **{"created_by": "admin", "expires_at": clock.now_ms() + 3_600_000, "last_used": None},
    }
    assert made["link"] is None
    assert (await sending(container, made["secret"]).get("/api/telemetry")).status == 200
    listed = await admin.get(PATH)
    assert [one["name"] for one in listed.json()["data"]] == ["grafana"]
    assert made["secret"] not in listed.body.decode()
    (entry,) = await audited(container, "TOKEN_CREATED")
    assert (entry.username, entry.details["token"]) == ("admin", "grafana")


async def test_a_display_is_shown_as_a_link_and_as_unopened_until_it_is_opened(container, admin):
    made = (await admin.post(PATH, {"name": "lobby", "display": True})).json()
    assert made["secret"] is None
    path, _, secret = made["link"].partition("#")
    assert (path, made["token"]["state"]) == ("/auth/display", "unopened")
    assert (await Caller(container.app).post(path, {"secret": secret})).status == 200
    (view,) = (await admin.get(PATH)).json()["data"]
    assert (view["state"], view["display"]) == ("valid", True)


async def test_a_revoked_token_leaves_the_list_and_its_name_is_free(container, admin):
    program = sending(container, (await admin.post(PATH, {"name": "a"})).json()["secret"])
    taken = await admin.post(PATH, {"name": "a"})
    assert (taken.status, taken.json()["code"]) == (409, "TOKEN_EXISTS")
    assert (await admin.open("DELETE", f"{PATH}/a")).json() == {"success": True}
    assert (await program.get("/api/telemetry")).status == 401
    assert (await admin.get(PATH)).json() == {"data": []}
    assert (await admin.post(PATH, {"name": "a"})).status == 200
    gone = await admin.open("DELETE", f"{PATH}/b")
    assert (gone.status, gone.json()["code"]) == (404, "NO_SUCH_TOKEN")


async def test_an_expired_token_stays_in_the_list_as_expired(admin, clock):
    await admin.post(PATH, {"name": "a", "expires_in": 1})
    clock.advance(1)
    (view,) = (await admin.get(PATH)).json()["data"]
    assert view["state"] == "expired"


async def test_the_tokens_of_another_tenant_do_not_exist_for_an_admin(container, admin):
    """OWASP ASVS 5.0, V8.4.1: no operation of a tenant touches another's."""
    await token(container, "theirs", "elsewhere")
    assert (await admin.get(PATH)).json() == {"data": []}
    assert (await admin.open("DELETE", f"{PATH}/theirs")).status == 404
    stranger = await logged_in(container, "stranger")
    assert [one["name"] for one in (await stranger.get(PATH)).json()["data"]] == ["theirs"]


async def test_no_token_makes_or_revokes_tokens(container):
    """OWASP ASVS 5.0, V8.2.1: a stolen token cannot make itself stay."""
    operator = await program(container, role="operator")
    for method, path, body in (
        ("GET", PATH, None),
        ("POST", PATH, {"name": "more"}),
        ("DELETE", f"{PATH}/pump", None),
    ):
        answer = await operator.open(method, path, **({"json": body} if body else {}))
        assert (answer.status, answer.json()["code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a/b"},
        {"name": "x" * 65},
        {"name": "a", "role": "admin"},
        {"name": "a", "role": "operator", "display": True},
        {"name": "a", "zones": [""]},
        {"name": "a", "zones": ["x"] * 101},
        {"name": "a", "zones": "lab"},
        {"name": "a", "expires_in": 0},
        {"name": "a", "expires_in": 10**12},
        {"name": "a", "expires": "90d"},
    ],
)
async def test_what_is_no_token_is_refused_with_400(admin, body):
    """OWASP ASVS 5.0, V2.2.1: unknown and impossible values are refused, not ignored."""
    answer = await admin.post(PATH, body)
    assert answer.status == 400
    assert answer.json()["code"] in {"INVALID_FIELD", "INVALID_JSON"}
    assert (await admin.get(PATH)).json() == {"data": []}


@pytest.mark.parametrize("name", ["%00", "a%2Fb", "..", "x" * 3000, "%F0%9F%98%80", " "])
async def test_a_name_that_no_token_can_have_is_not_found(admin, name):
    assert (await admin.open("DELETE", f"{PATH}/{name}")).status in {404, 405}
