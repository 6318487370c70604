"""Logging out closes the dashboard in every tab."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.e2e.desk import SOON_MS, STREAM, Desk, go_back, is_live, log_in

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_logging_out_in_one_tab_closes_the_dashboard_in_the_other_tab(
    desk: Desk, site: str
) -> None:
    desk.expect_complaint(rf"status of 401 .*{STREAM}$")
    # The other tab may be asking for its lines of the last hour.
    desk.expect_complaint(r"status of 401 .*/api/telemetry/series\?")
    first = await desk.logged_in(site, "reader")
    other = await first.context.new_page()
    await other.goto(site)
    await is_live(other)

    await first.get_by_role("button", name="Log out").click()

    await first.wait_for_url("**/auth/login?reason=out")
    await expect(first.get_by_role("status")).to_have_text("You are logged out.")
    await other.wait_for_url("**/auth/login?*", timeout=SOON_MS)
    await expect(other.get_by_role("status")).to_contain_text("Your session has ended")
    await first.goto(site)
    await first.wait_for_url("**/auth/login?*")


async def test_the_back_button_does_not_show_the_dashboard_after_logging_out(
    desk: Desk, site: str
) -> None:
    page = await desk.window()
    await page.goto(f"{site}/auth/login?reason=ended")
    await log_in(page, "reader")
    await is_live(page)
    await page.goto(f"{site}/auth/login")
    await page.goto(site)
    await is_live(page)
    await page.get_by_role("button", name="Log out").click()
    await page.wait_for_url("**/auth/login?reason=out")

    await go_back(page)
    await go_back(page)

    await page.wait_for_url("**/auth/login?next=*")
    await expect(page.locator(".zone")).to_have_count(0)
