"""Chromium at the server's own TLS: HTTP/2, a Secure cookie, and more tabs than six."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.conftest import PASSWORD
from tests.e2e.desk import Desk
from tests.support.certificates import identity
from tools.process import run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")
TABS = 8


async def test_eight_tabs_are_live_over_one_connection_and_a_ninth_request_is_answered(
    desk: Desk, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    run_command(
        "create-user",
        "operator",
        "--role",
        "operator",
        "--password-stdin",
        data_dir=data,
        stdin=PASSWORD,
    )
    server = desk.serve(data, **identity(tmp_path / "tls").environment())
    page = await desk.logged_in(server.url, "operator", ignore_https_errors=True)
    protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol"
    assert await page.evaluate(protocol) == "h2"
    cookies = [one for one in await page.context.cookies() if "session" in one["name"]]
    assert cookies
    assert all(one["secure"] for one in cookies)
    for _ in range(TABS - 1):
        tab = await page.context.new_page()
        await tab.goto(server.url)
        await expect(tab.locator("#connection")).to_have_attribute("data-state", "live")
    status = await page.evaluate("fetch('/auth/status').then((answer) => answer.status)")
    assert status == 200
