"""The API's page in a real browser, under the strict policy: search, try, copy."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.conftest import PASSWORD
from tests.e2e.desk import Desk

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_route_is_found_tried_with_the_session_and_copied_as_curl(
    desk: Desk, site: str
) -> None:
    page = await desk.logged_in(site, "operator", PASSWORD)
    await page.goto(f"{site}/docs")
    await expect(page.locator("#found")).to_contain_text("routes")

    await page.get_by_label("Search").fill("set_setpoint")
    await expect(page.locator("#found")).to_have_text("1 routes")
    await page.locator("summary:visible").click()
    route = page.locator("details[open]")
    await route.get_by_label("Body").fill('{"deadband_tenths": 11}')
    await route.get_by_role("button", name="Try").click()
    await expect(route.locator("pre")).to_contain_text('"deadband_tenths": 11')
    await expect(route.locator("pre")).to_contain_text("200")

    await route.get_by_role("button", name="Copy as curl").click()
    await expect(route.locator("pre")).to_have_text(
        f"curl -X POST '{site}/api/set_setpoint' -b jar -H 'Content-Type: application/json'"
        """ -d '{"deadband_tenths": 11}'"""
    )
