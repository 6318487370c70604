"""Log-ins in the server's own log: who, from where, and never what was typed as a password."""

from __future__ import annotations

import logging

from server.auth.login_lines import LINES_MAX
from tests.support.http import ADDRESS, Caller, logged_in

WRONG = "not the right horse"


async def test_a_log_in_is_one_line_and_no_secret_is_logged(container, caplog):
    caplog.set_level(logging.DEBUG)
    caller = await logged_in(container, "operator")
    assert (
        caplog.messages.count(f"user 'operator' of tenant 'default' logged in from {ADDRESS}") == 1
    )
    assert caller.session not in caplog.text


async def test_a_wrong_password_is_one_line_without_the_password(container, caplog):
    caplog.set_level(logging.INFO)
    assert (await Caller(container.app).log_in("operator", WRONG)).status == 401
    assert f"a log-in from {ADDRESS} failed: wrong password of user 'operator'" in caplog.messages
    assert WRONG not in caplog.text


async def test_a_name_without_an_account_is_not_shown(container, caplog):
    """Some people type their password into the field for their name."""
    assert (await Caller(container.app).log_in(WRONG, WRONG)).status == 401
    assert f"a log-in from {ADDRESS} failed: there is no such user" in caplog.messages
    assert WRONG not in caplog.text


async def test_a_locked_user_is_one_line_and_guesses_do_not_fill_the_log(container, caplog):
    for number in range(2 * LINES_MAX):
        await Caller(container.app, address=f"192.0.2.{number}").log_in("operator", WRONG)
    lines = [line for line in caplog.messages if "failed" in line]
    assert len(lines) <= LINES_MAX
    assert any(line.startswith("user 'operator' is locked after 5 failed") for line in lines)
