"""The whole matrix of access: every route and method, called by every principal, in every mode.

`access_table.py` says who may do what. A refused request gets the status and code of the contract,
and changes nothing in the store. Every answer has the security headers.
"""

from __future__ import annotations

import json
import re

import pytest

from server.http.plain_posts import BEGINNING
from tests.component.security.access_table import ROWS
from tests.component.security.principals import (
    EVERYONE,
    KEYS,
    NOBODY,
    OURS,
    all_principals,
)
from tests.component.security.promised_headers import missing
from tests.support.http import exchange, served
from tests.support.kept import kept
from tests.support.serving import ask, request

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "BREW")
JSON_PATHS = ("/api/", "/auth/", "/healthz", "/readyz", "/metrics", "/openapi.json")
MODES = ("user_password", "shadow", "disabled")


def rules_of(app):
    """The methods of each path."""
    found = {}
    for rule in app.url_map.iter_rules():
        found.setdefault(rule.rule, set()).update(rule.methods)
    return found


def code_of(answer):
    """The code of an error, also on its page, or of the only row of a batch that was refused.

    Of a redirection it is the path that it leads to.
    """
    if answer.status == 302:
        return answer.headers["Location"].partition("?")[0]
    if answer.headers["Content-Type"].startswith("text/html"):
        return re.search(rb"Error \d+, (\w+)", answer.body)[1].decode()
    content = json.loads(answer.body)
    (error,) = content.get("errors", [content])
    return error["code"]


class Matrix:
    """Sends requests as each of the principals, and collects what is not as the table says."""

    def __init__(self, container, principals):
        self._container = container
        self._principals = principals
        self._number = 99
        self._kept = None
        self.sent = 0
        self.wrong = []

    async def ask(self, who, method, path, query="", body=""):
        self.sent += 1
        headers = self._principals[who] | ({"Content-Type": "application/json"} if body else {})
        answer = await exchange(
            self._container.app,
            method,
            path,
            query=query.encode(),
            headers=[(name.lower().encode(), text.encode()) for name, text in headers.items()],
            body=body.replace("@", str(self._number)).encode(),
            frames=3,
        )
        if wrong := missing(answer):
            self.wrong.append(f"{method} {path} by {who}: {answer.status} without {wrong}")
        return answer

    async def check(self, row, who, mode):
        """Send the request of this row as `who`, and what else its method implies."""
        refusal = row.in_mode(mode).get(who)
        path = row.url or row.path
        before = self._kept or await kept(self._container)
        self._number += "@" in row.body
        answer = await self.ask(who, row.method, path, row.query, row.body)
        self._kept = await kept(self._container)
        changed = self._kept != before
        about = f"{row} by {who} in mode {mode}: {answer.status} {answer.body[:200]!r}"
        if refusal is not None:
            if (answer.status, code_of(answer)) != refusal:
                self.wrong.append(f"{about}, not {refusal}")
            if changed:
                self.wrong.append(f"{about}, and it changed the store")
        else:
            if answer.status not in (200, 204) or b'"errors":[{' in answer.body:
                self.wrong.append(f"{about}, not a success")
            if who in OURS and row.shows.encode() not in answer.body:
                self.wrong.append(f"{about}, without {row.shows}")
            if changed != (who in row.changing) and mode != "disabled":
                self.wrong.append(f"{about}, changed the store: {changed}")
        if row.method == "GET":
            head = await self.ask(who, "HEAD", path, row.query)
            if head.status != answer.status:
                self.wrong.append(f"HEAD {about}: {head.status}")

    async def check_others(self, path, url, methods, who):
        """Send every method that this path does not have, and OPTIONS."""
        answer = await self.ask(who, "OPTIONS", url)
        if (answer.status, set(answer.headers["Allow"].split(", "))) != (200, methods):
            self.wrong.append(f"OPTIONS {path} by {who}: {answer.status} {answer.headers}")
        for method in METHODS:
            if method in methods:
                continue
            answer = await self.ask(who, method, url, body='{"device_id": "x-@"}')
            is_json = path.startswith(JSON_PATHS)
            if answer.status != 405 or (is_json and code_of(answer) != "METHOD_NOT_ALLOWED"):
                self.wrong.append(f"{method} {path} by {who}: {answer.status} {answer.body!r}")


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture
async def container(config, clock, mode):
    async with served(config, clock, auth_mode=mode) as container:
        yield container


@pytest.fixture
async def matrix(container, clock):
    return Matrix(container, await all_principals(container, clock))


@pytest.mark.parametrize("mode", ["user_password"], indirect=True)
async def test_every_route_and_method_is_in_the_table_of_access(container):
    """ASVS 5.0.0 V8.2.1: function-level access only for those with explicit permission."""
    routes = {
        (method, path)
        for path, methods in rules_of(container.app).items()
        for method in methods - {"HEAD", "OPTIONS"}
    }
    assert {(row.method, row.path) for row in ROWS} == routes
    # What DeviceConnection answers before Quart is a route of the table too.
    method, path = BEGINNING.decode().split()[:2]
    assert (method, path) in routes


@pytest.mark.drill_on_firestore(
    "2,000 requests, of which most are refused before any store is asked"
)
async def test_every_principal_may_do_what_the_table_says_and_nothing_else(matrix, mode):
    """ASVS 5.0.0 V8.2.1, V8.2.2, V8.3.1, V7.4.1: enforced by the server, for ended sessions too;
    V3.4.3, V3.4.4, V3.4.5, V3.4.6, V4.1.1: the headers of its answers."""
    for row in ROWS:
        for who in EVERYONE:
            await matrix.check(row, who, mode)
    assert "\n".join(matrix.wrong) == ""
    assert matrix.sent > 480


@pytest.mark.drill_on_firestore("no store is asked")
@pytest.mark.parametrize("mode", ["user_password"], indirect=True)
async def test_a_method_that_a_path_does_not_have_gets_405_whoever_asks(container, matrix):
    """ASVS 5.0.0 V4.1.4, V13.4.4: only supported methods, and no TRACE."""
    urls = {row.path: row.url or row.path for row in ROWS}
    before = await kept(container)
    for path, methods in rules_of(container.app).items():
        for who in EVERYONE:
            await matrix.check_others(path, urls[path], methods, who)
    assert "\n".join(matrix.wrong) == ""
    assert await kept(container) == before


async def test_a_device_s_post_has_the_rights_of_the_table_before_quart_too(
    container, clock, mode, port, in_quart
):
    """ASVS 5.0.0 V8.2.1, V6.3.4: both ways of a post check the same."""
    principals = await all_principals(container, clock)
    rows = [row for row in ROWS if row.path == "/api/sensor_data"]
    in_quart.clear()
    for row in rows:
        for who in EVERYONE:
            body = row.body.replace("@", "235").encode()
            (answer,) = await ask(port, request(body, principals[who] | {"Connection": "close"}))
            refusal = row.in_mode(mode).get(who)
            got = (answer.status, code_of(answer)) if answer.status != 200 else None
            assert got == refusal, (str(row), who)
    # A session is an unusual header of a post.
    before_quart = len(rows) * len(KEYS | {NOBODY})
    assert len(in_quart) == len(rows) * len(EVERYONE) - before_quart
