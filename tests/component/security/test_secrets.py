"""No password, session id, token or key is in a log, a metric, an error or an audit entry."""

from __future__ import annotations

import logging

import pytest

from tests.component.security.access_table import ROWS
from tests.component.security.principals import ADMIN, DISPLAY, EVERYONE, all_principals
from tests.conftest import PASSWORD
from tests.support.http import Caller, exchange, lose_store, reading, served

WRONG = "a wrong password that someone typed"
MADE_UP = "bas_" + "k" * 43
MODES = ["user_password", "shadow", "disabled"]


@pytest.mark.drill_on_firestore("as many requests as there are routes and callers")
@pytest.mark.parametrize("mode", MODES)
async def test_no_secret_of_any_request_is_in_an_answer_a_log_a_metric_or_an_entry(
    config, clock, caplog, mode
):
    """ASVS 5.0.0 V16.2.5, V16.5.1, V14.2.4: with a store that works, and with one that is away."""
    caplog.set_level(logging.DEBUG)
    async with served(config, clock, auth_mode=mode) as container:
        principals = await all_principals(container, clock)
        secrets = {PASSWORD, WRONG, MADE_UP}
        for headers in principals.values():
            for name, text in headers.items():
                if name in {"Cookie", "X-Device-Key", "Authorization"}:
                    secrets.add(text.rpartition("=")[2].rpartition(" ")[2])
        assert len(secrets) == (3 + 3 + 8 + 8)
        texts = [await answers(container, principals)]
        admin = Caller(container.app, headers=principals[ADMIN])
        texts.append((await admin.get("/api/audit/recent?limit=1000")).body.decode())
        texts.append((await admin.get("/metrics")).body.decode())
        await lose_store(container)
        texts.append(await answers(container, principals))
        texts.append((await admin.get("/metrics")).body.decode())
    texts.append(caplog.text)
    for secret in secrets:
        assert not any(secret in text for text in texts), secret


async def answers(container, principals):
    """The bodies of the answers to every principal, to wrong passwords and to wrong keys."""
    bodies = []
    anyone = Caller(container.app)
    for name in ("operator", "nobody at all"):
        bodies.append((await anyone.log_in(name, WRONG)).body)
        bodies.append((await anyone.post("/auth/login", {name: WRONG, "password": WRONG})).body)
        bodies.append((await anyone.post_text("/auth/login", f'{{"password": "{WRONG}",')).body)
    for headers in ({"X-Device-Key": MADE_UP}, {"Authorization": f"Bearer {MADE_UP}"}):
        bodies.append((await anyone.post("/api/sensor_data", reading(), headers=headers)).body)
        rows = [reading(device_id="lab")]
        bodies.append((await anyone.post("/api/sensor_data/batch", rows, headers=headers)).body)
    for row in (row for row in ROWS if "login" not in row.path and "logout" not in row.path):
        for who in EVERYONE:
            headers = principals[who] | ({"Content-Type": "application/json"} if row.body else {})
            answer = await exchange(
                container.app,
                row.method,
                row.url or row.path,
                query=row.query.encode(),
                headers=[(name.lower().encode(), text.encode()) for name, text in headers.items()],
                body=row.body.replace("@", "250").encode(),
                frames=3,
            )
            if who == DISPLAY:  # the page of a display renews its cookie
                answer.headers.pop("Set-Cookie", None)
            bodies.append(answer.body + str(answer.headers).encode())
    return b"\n".join(bodies).decode()
