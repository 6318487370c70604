"""Pages that stay open: while the machine sleeps, beside a wrong clock, over an update."""

from __future__ import annotations

import asyncio
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.desk import SERVER_AWAY, Desk, card, is_live, log_in, post_reading
from tools.process import REPOSITORY, ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

AN_HOUR_MS = 3_600_000
RECORD_STATES = """() => {
  const strip = document.getElementById("connection");
  window.states = [];
  new MutationObserver(() => window.states.push(strip.dataset.state))
    .observe(strip, { attributeFilter: ["data-state"] });
}"""


async def test_a_laptop_that_slept_for_an_hour_says_so_before_it_is_live_again(
    desk: Desk, own_server: ServerProcess
) -> None:
    desk.expect_complaint(SERVER_AWAY)
    await post_reading(own_server.url, "office", 215)
    page = await desk.window(workers=False)
    await page.clock.install()
    await page.goto(own_server.url)
    assert own_server.password is not None
    await log_in(page, "admin", own_server.password)
    await is_live(page)
    await page.evaluate(RECORD_STATES)
    session = await page.context.new_cdp_session(page)

    await session.send("Page.setWebLifecycleState", {"state": "frozen"})
    await post_reading(own_server.url, "office", 238)
    await session.send("Page.setWebLifecycleState", {"state": "active"})
    await page.clock.fast_forward(AN_HOUR_MS)

    await expect(card(page, "office").locator(".temperature")).to_have_text("23.8 °C")
    await is_live(page)
    states = await page.evaluate("window.states")
    assert "silent" in states  # nobody takes the values of an hour ago for those of now
    assert states[-1] == "live"


async def test_a_clock_that_is_a_day_ahead_changes_no_time_on_the_page_and_is_named(
    desk: Desk, own_server: ServerProcess
) -> None:
    for temp in (213, 215):
        await post_reading(own_server.url, "office", temp)
    page = await desk.window(workers=False)
    await page.clock.install(time=datetime.now(UTC) + timedelta(days=1, minutes=5))
    await page.goto(own_server.url)
    assert own_server.password is not None
    await log_in(page, "admin", own_server.password)
    await is_live(page)

    office = card(page, "office")
    await expect(office.locator(".age")).to_have_text(re.compile(r"^Last reading \d+ s ago$"))
    await expect(office.locator(".state")).to_have_text("Idle")
    await expect(office.locator("canvas")).to_be_visible()  # the last hour is that of the server
    await expect(page.locator("#clock-off")).to_contain_text("24 h ahead of the server's")


async def test_a_page_that_is_open_over_an_update_says_so_and_one_click_loads_it(
    desk: Desk, tmp_path: Path
) -> None:
    desk.expect_complaint(SERVER_AWAY)
    desk.expect_complaint(r"status of 404 .*/static/\w+/\w+\.(js|svg)$")
    old = desk.serve(tmp_path / "data", BAS_SSE_HEARTBEAT_S="1")
    await post_reading(old.url, "office", 215)
    assert old.password is not None
    page = await desk.logged_in(old.url, "admin", old.password, workers=False)
    await page.evaluate("window.isThisVeryPage = true")
    for part in ("server", "infra"):
        shutil.copytree(REPOSITORY / part, tmp_path / "new" / part)
    shutil.copy(REPOSITORY / "bas_server.py", tmp_path / "new")
    with (tmp_path / "new" / "server" / "static" / "style.css").open("a") as style:
        style.write("/* another version */\n")
    assert await asyncio.to_thread(old.terminate) == 0

    newer = ServerProcess(
        tmp_path / "data",
        program=(str(tmp_path / "new" / "bas_server.py"),),
        BAS_PORT=str(old.port),
        BAS_SSE_HEARTBEAT_S="1",
    )
    with newer:
        await page.keyboard.press("Shift")
        await is_live(page)
        await expect(page.locator("#updated")).to_contain_text("a new version of this page")
        assert await page.evaluate("window.isThisVeryPage")  # a person is here and may be typing
        await page.get_by_role("button", name="Load it").click()
        await is_live(page)
        assert not await page.evaluate("window.isThisVeryPage")
        await expect(page.locator("#updated")).to_be_hidden()
        await page.context.close()
        newer.terminate()
