"""/api/notice-targets: an admin says where notices go, and tries it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.alarms.targets import sending
from tests.support.http import audited, logged_in
from tests.support.notices import HERE
from tests.support.receivers import HANG, status, web_receiver

PATH = "/api/notice-targets"
HOOK = {"id": "hook", "name": "on call", "kind": "webhook", "url": "https://a.example/x"}
MAIL = {
    **{"id": "mail", "name": "office", "kind": "email", "host": "mail.example", "port": 587},
    **{"sender": "bas@example.com", "recipients": ["ann@example.com"]},
    **{"username": "bas", "secret": "the password"},
}


@pytest.fixture
def config(config):
    return replace(config, notice_private_addresses=HERE)


@pytest.fixture
async def admin(container):
    return await logged_in(container, "admin")


async def test_a_secret_is_written_and_never_read_back(container, admin):
    made = await admin.post(PATH, {**HOOK, "secret": "very secret"})
    assert made.status == 200, made.body
    assert made.headers["Cache-Control"] == "no-store"
    view = made.json()["target"]
    assert (view["id"], view["secret_set"], view["created_by"]) == ("hook", True, "admin")
    kept = await admin.open("PUT", f"{PATH}/hook", json=_without_id(HOOK, name="new name"))
    assert (kept.json()["target"]["secret_set"], kept.json()["target"]["name"]) == (
        True,
        "new name",
    )
    listed = await admin.get(PATH)
    assert [one["name"] for one in listed.json()["data"]] == ["new name"]
    removed = await admin.open("PUT", f"{PATH}/hook", json=_without_id(HOOK, secret=""))
    assert removed.json()["target"]["secret_set"] is False
    assert (await admin.open("DELETE", f"{PATH}/hook")).json() == {"success": True}
    entries = [
        entry
        for action in ("CREATED", "CHANGED", "DELETED")
        for entry in await audited(container, f"NOTICE_TARGET_{action}")
    ]
    assert [entry.details["host"] for entry in entries] == ["a.example"] * 4
    texts = [made.body, kept.body, listed.body, *(repr(one).encode() for one in entries)]
    assert all(b"very secret" not in text for text in texts)


def _without_id(body, **more):
    return {name: value for name, value in {**body, **more}.items() if name != "id"}


async def test_a_target_that_leads_elsewhere_needs_its_secret_again(admin):
    """Else an admin could have it sent to a server of the admin's own."""
    assert (await admin.post(PATH, MAIL)).status == 200
    without = {name: value for name, value in _without_id(MAIL).items() if name != "secret"}
    for change in ({"host": "eve.example"}, {"port": 25}, {"tls": "none"}):
        answer = await admin.open("PUT", f"{PATH}/mail", json={**without, **change})
        assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD"), change
    to_others = {**without, "recipients": ["bob@example.com"]}
    assert (await admin.open("PUT", f"{PATH}/mail", json=to_others)).status == 200


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "https://u:p@a.example"}, "url"),
        ({"kind": "pigeon"}, "kind"),
        ({"hours": {"days": [8], "start": "00:00", "end": "01:00"}}, "hours"),
        ({"hours": {"days": [1], "start": "0:00", "end": "01:00"}}, "hours"),
        ({"id": "../x"}, "id"),
        ({"id": "x" * 65}, "id"),
        ({"name": ""}, "name"),
        ({"secret": "x" * 501}, "secret"),
        ({"kind": "ntfy", "url": "http://a.example/t", "secret": "token"}, "secret"),
        ({"recipients": ["a@b"] * 21}, "recipients"),
    ],
)
async def test_a_wrong_field_is_named(admin, change, names):
    answer = await admin.post(PATH, {**HOOK, **change})
    assert (answer.status, answer.json()["code"]) == (400, "INVALID_FIELD")
    assert names in answer.json()["message"]
    assert (await admin.get(PATH)).json() == {"data": []}


async def test_an_id_is_taken_once_and_a_tenant_has_a_hundred(admin, monkeypatch):
    assert (await admin.post(PATH, HOOK)).status == 200
    assert (await admin.post(PATH, HOOK)).json()["code"] == "NOTICE_TARGET_EXISTS"
    monkeypatch.setattr("server.alarms.targets_store.TARGETS_MAX", 2)
    assert (await admin.post(PATH, _without_id(HOOK))).status == 200
    full = await admin.post(PATH, _without_id(HOOK))
    assert (full.status, full.json()["code"]) == (409, "TOO_MANY_NOTICE_TARGETS")


async def test_the_targets_of_another_tenant_do_not_exist_for_an_admin(container, admin):
    assert (await admin.post(PATH, HOOK)).status == 200
    stranger = await logged_in(container, "stranger")
    assert (await stranger.get(PATH)).json() == {"data": []}
    for method, path in (("DELETE", ""), ("POST", "/test")):
        answer = await stranger.open(method, f"{PATH}/hook{path}")
        assert (answer.status, answer.json()["code"]) == (404, "NO_SUCH_NOTICE_TARGET")
    assert (await stranger.post(PATH, HOOK)).status == 200


async def test_a_test_says_whether_it_arrived(container, admin, monkeypatch):
    monkeypatch.setattr(sending, "SEND_S", 0.5)
    async with web_receiver() as receiver:
        receiver.answers = [status(200), status(503), HANG]
        made = await admin.post(PATH, {**HOOK, "url": receiver.url, "severity": "critical"})
        assert made.status == 200, made.body
        answers = [(await admin.post(f"{PATH}/hook/test")).json() for _ in range(3)]
    assert [one["delivered"] for one in answers] == [True, False, False]
    assert answers[0]["error"] is None
    assert answers[1]["error"] == "127.0.0.1 answered 503"
    assert "no answer" in answers[2]["error"]
    (notice,) = receiver.posted[0].json()["notices"]
    assert (notice["kind"], notice["severity"]) == ("test", "info")
    entries = await audited(container, "NOTICE_TARGET_TESTED")
    assert sorted(entry.success for entry in entries) == [False, False, True]


async def test_few_tests_are_under_way_at_a_time(admin, monkeypatch):
    monkeypatch.setattr("server.alarms.target_service.TESTS_MAX", 0)
    assert (await admin.post(PATH, HOOK)).status == 200
    answer = await admin.post(f"{PATH}/hook/test")
    assert (answer.status, answer.json()["code"]) == (429, "RATE_LIMITED")
