"""Pages in the browser's back/forward cache hold no stream and are live when they are restored.

Their SharedWorker may hold one: Chromium stops a worker with its last page, at times before the
worker has read that the page leaves. It goes on, and ends that stream, when it gets a page again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.desk import (
    Desk,
    card,
    go_back,
    is_live,
    log_in,
    no_stream_is_open,
    one_stream_is_open,
    post_reading,
)
from tools.process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Browsers open at most six connections to one server: with a leak the seventh visit gets none.
VISITS = 7


@pytest_asyncio.fixture(loop_scope="session")
async def desk(remembering_browser: Browser) -> AsyncIterator[Desk]:
    desk = Desk(remembering_browser)
    yield desk
    await desk.close()
    assert desk.complaints == []


async def at_the_dashboard(desk: Desk, server: ServerProcess, workers: bool = True) -> Page:
    assert server.password is not None
    page = await desk.logged_in(server.url, "admin", server.password, workers=workers)
    await page.evaluate("window.isThisVeryPage = true")
    return page


@pytest.mark.parametrize("workers", [False, True], ids=["alone", "with a worker"])
async def test_cached_pages_hold_no_stream_and_are_live_again_when_restored(
    desk: Desk, own_server: ServerProcess, workers: bool
) -> None:
    page = await at_the_dashboard(desk, own_server, workers)
    for _ in range(VISITS):
        await page.goto(f"{own_server.url}/auth/login")
        await no_stream_is_open(own_server, but=int(workers))
        await page.goto(own_server.url)
        await is_live(page)
        await one_stream_is_open(own_server)
    await post_reading(own_server.url, "office", 215)
    await expect(card(page, "office").locator(".temperature")).to_have_text("21.5 °C")
    await page.evaluate("window.isThisVeryPage = true")

    await page.goto(f"{own_server.url}/auth/login")
    await no_stream_is_open(own_server, but=int(workers))
    await post_reading(own_server.url, "office", 219)
    await go_back(page)

    await is_live(page)
    assert await page.evaluate("window.isThisVeryPage"), "the browser did not keep the page"
    await expect(card(page, "office").locator(".temperature")).to_have_text("21.9 °C")
    await post_reading(own_server.url, "office", 223)
    await expect(card(page, "office").locator(".temperature")).to_have_text("22.3 °C")
    await one_stream_is_open(own_server)


async def test_a_restored_page_shows_that_it_is_not_live_until_it_has_reconnected(
    desk: Desk, own_server: ServerProcess
) -> None:
    page = await at_the_dashboard(desk, own_server)
    await page.evaluate(RECORD_STATES)
    await page.goto(f"{own_server.url}/auth/login")

    await go_back(page)

    await is_live(page)
    assert await page.evaluate("window.states") == ["lost", "live"]


RECORD_STATES = """() => {
  const connection = document.getElementById("connection");
  window.states = [];
  new MutationObserver(() => window.states.push(connection.dataset.state))
    .observe(connection, { attributeFilter: ["data-state"] });
}"""


async def test_a_restored_page_whose_session_has_ended_opens_the_log_in_page(
    desk: Desk, own_server: ServerProcess
) -> None:
    page = await at_the_dashboard(desk, own_server)
    await page.goto(f"{own_server.url}/auth/login")
    assert (await page.request.post(f"{own_server.url}/auth/logout")).ok

    await go_back(page)

    await page.wait_for_url("**/auth/login?*")
    await expect(page.get_by_role("status")).to_contain_text("Your session has ended")
    await no_stream_is_open(own_server)


async def test_a_page_that_the_user_left_by_logging_out_is_not_restored(
    desk: Desk, own_server: ServerProcess
) -> None:
    page = await at_the_dashboard(desk, own_server)
    await page.goto(f"{own_server.url}/auth/login")
    await page.goto(own_server.url)
    await is_live(page)
    await page.get_by_role("button", name="Log out").click()
    await page.wait_for_url("**/auth/login?reason=out")

    await go_back(page)
    await go_back(page)

    await page.wait_for_url("**/auth/login?next=*")
    await expect(page.locator(".zone")).to_have_count(0)


async def test_a_restored_page_offers_only_what_the_current_user_may_do(
    desk: Desk, site: str
) -> None:
    await post_reading(site, "office", 215)
    page = await desk.logged_in(site, "operator")
    await expect(page.get_by_role("button", name="Change all zones")).to_be_visible()
    await page.evaluate("window.isThisVeryPage = true")
    await page.goto(f"{site}/auth/login")
    other = await page.context.new_page()
    await other.goto(f"{site}/auth/login")
    await log_in(other, "reader")
    await is_live(other)

    await go_back(page)

    await is_live(page)
    assert await page.evaluate("window.isThisVeryPage"), "the browser did not keep the page"
    await expect(page.locator("#who")).to_have_text("reader (read-only)")
    await expect(page.get_by_role("button", name="Change all zones")).to_be_hidden()


async def test_a_page_cached_before_its_stream_was_open_is_loaded_again(
    desk: Desk, site: str
) -> None:
    desk.expect_complaint("status of 503 .*/api/health$")
    page = await desk.logged_in(site, "reader")
    await page.route("**/api/health", lambda route: route.fulfill(status=503))
    await page.goto(site)
    await expect(page.locator("#connection")).to_contain_text("Connection lost")

    async with page.expect_request(f"{site}/"):
        await page.evaluate(
            "dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))"
        )

    await page.unroute("**/api/health")
    await is_live(page)
