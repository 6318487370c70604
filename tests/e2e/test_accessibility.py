"""Each page keeps WCAG 2.2, level AA, as far as axe can tell: light, dark and high contrast."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.e2e.desk import Desk, is_live, log_in, post_reading
from tests.e2e.looks import violations, weak_contrasts
from tools.process import run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")

ADMIN_PAGES = ("users", "devices", "zones", "tokens", "notices", "audit", "system")


class Walk:
    """Goes from page to page and keeps what axe finds on each."""

    def __init__(self) -> None:
        self.found: list[str] = []

    async def check(self, page: Page, what: str) -> None:
        """Check all rules in light, and the contrast in the other appearances too."""
        self._keep(what, await violations(page))
        for theme in ("dark", "contrast"):
            await page.evaluate(
                "(theme) => { document.documentElement.dataset.theme = theme; }", theme
            )
            self._keep(f"{what}, {theme}", await weak_contrasts(page))
        await page.evaluate("delete document.documentElement.dataset.theme")

    def _keep(self, what: str, found: list[str]) -> None:
        self.found += [f"{what}: {one}" for one in found]


async def test_no_page_breaks_a_rule_of_wcag_in_any_appearance(desk: Desk, tmp_path: Path) -> None:
    """The overview of a thousand zones, and alarms and notices in use, have tests of their own."""
    desk.expect_complaint(r"status of 401 .*/auth/login$")
    desk.expect_complaint(r"status of 404 .*/(no-such-page|auth/display)$")
    server, walk = desk.serve(tmp_path / "data"), Walk()
    page = await desk.window(reduced_motion="reduce")  # no colour is caught half way to another
    await page.goto(server.url)
    await expect(page.get_by_role("button", name="Log in")).to_be_enabled()
    await walk.check(page, "log-in")
    await log_in(page, "admin", "a wrong password")
    await expect(page.get_by_role("alert")).not_to_be_empty()
    await walk.check(page, "log-in refused")
    assert server.password is not None
    await log_in(page, "admin", server.password)
    await is_live(page)
    await expect(page.locator("#first-run")).to_be_visible()
    await walk.check(page, "first run")

    for zone, sensor_ok in (("hall", True), ("attic", False)):
        await post_reading(server.url, zone, 215, sensor_ok)
    await expect(page.locator(".zone")).to_have_count(2)
    await page.keyboard.press("?")
    await walk.check(page, "overview, keys")
    await page.goto(f"{server.url}/zone?device_id=hall&with=attic&last=60")
    await expect(page.locator(".uplot")).to_be_visible()
    await page.get_by_text("The values as a table").click()
    await expect(page.locator("#table tbody tr").first).to_be_visible()
    await walk.check(page, "zone")
    await page.goto(f"{server.url}/alarms")
    await expect(page.locator(".alarm")).to_have_count(1)
    await walk.check(page, "alarms")
    for name in ADMIN_PAGES:
        await page.goto(f"{server.url}/admin/{name}")
        await expect(page.locator("#admin-message")).to_be_empty()
        await walk.check(page, f"admin {name}")
    await page.goto(f"{server.url}/docs")
    await page.locator("summary").first.click()
    await walk.check(page, "docs")
    await page.goto(f"{server.url}/no-such-page")
    await walk.check(page, "no such page")

    made = await asyncio.to_thread(
        run_command, "create-token", "lobby", "--display", data_dir=tmp_path / "data"
    )
    assert made.returncode == 0, made.stderr
    screen = await desk.window()
    await screen.goto(f"{server.url}/auth/display#{made.stdout.splitlines()[1].partition('#')[2]}")
    await screen.wait_for_url(f"{server.url}/display")
    await expect(screen.locator(".zone")).to_have_count(2)
    await walk.check(screen, "wall")
    stranger = await desk.window()
    await stranger.goto(f"{server.url}/auth/display#bas_wrong")
    await expect(stranger.get_by_role("alert")).not_to_be_empty()
    await walk.check(stranger, "display refused")

    assert walk.found == []
