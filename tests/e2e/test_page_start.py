"""How a page starts: what it asks for, and in which order."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Route

from tests.e2e.desk import Desk, is_live
from tools.process import REPOSITORY

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODULES = REPOSITORY / "server" / "static"
# What a page loads once it needs it.
LATER = {
    name
    for module in MODULES.glob("*.js")
    for name in re.findall(r'import\("\./(\w+\.js)"\)', module.read_text())
}
LOADED_AND_NAMED = """() => {
  const path = (url) => new URL(url, location.href).pathname;
  const loaded = performance.getEntriesByType("resource").map(({ name }) => path(name));
  const elements = document.querySelectorAll("link[rel=modulepreload], script");
  return [
    loaded.filter((name) => name.endsWith(".js")),
    [...elements].map(({ href, src }) => path(href || src)),
  ];
}"""


@pytest.mark.parametrize("path", ["/", "/zone?device_id=office", "/alarms", "/display"])
async def test_a_page_names_every_module_that_it_loads(desk: Desk, site: str, path: str) -> None:
    page = await desk.logged_in(site, "reader")
    await page.goto(f"{site}{path}")
    await page.wait_for_selector("#connection[data-state]")
    await page.wait_for_load_state()

    loaded, named = await page.evaluate(LOADED_AND_NAMED)

    # The version that it asks for later is that of a module, too.
    first = [name for name in loaded if name.rpartition("/")[2] not in LATER]
    assert set(first) <= set(named)


async def test_a_page_asks_for_its_session_before_its_modules_have_come(
    desk: Desk, site: str
) -> None:
    page = await desk.logged_in(site, "reader")
    asked = asyncio.Event()

    async def hold_back(route: Route) -> None:
        await asyncio.wait_for(asked.wait(), 30)
        await route.continue_()

    await page.route("**/dashboard.js", hold_back)

    async with page.expect_request("**/auth/status"):
        going = asyncio.create_task(page.goto(site))
    asked.set()

    await going
    await is_live(page)
