"""Chromium at a server below a path prefix, on the server's own port and through a proxy's path."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.desk import Desk, is_live, log_in, post_reading

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_pages_log_in_stream_and_links_work_below_the_prefix(
    desk: Desk, tmp_path: Path
) -> None:
    server = desk.serve(tmp_path / "data", BAS_ROOT_PATH="/bas")
    await post_reading(server.url, "lab", 215)
    page = await desk.window()
    await page.goto(f"{server.url}/bas/auth/login?next=/bas/zone?device_id=lab")
    await log_in(page, "admin", server.password)
    await page.wait_for_url(f"{server.url}/bas/zone?device_id=lab")
    await is_live(page)
    await page.get_by_role("link", name="Overview").click()
    await page.wait_for_url(f"{server.url}/bas/")
    await is_live(page)
    await expect(page.get_by_text("lab").first).to_be_visible()
    await page.get_by_role("link", name="Admin").click()
    await expect(page.locator("main")).to_contain_text("admin")
    await page.get_by_role("button", name="Log out").click()
    await page.wait_for_url(f"{server.url}/bas/auth/login?reason=out")
