"""The end of a session as a person at the page sees it, and servers that share a browser."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.async_api import Page, Request, expect

from tests.e2e.desk import STREAM, Desk, is_live, log_in
from tools.process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

# The notice comes two minutes ahead of the end: with this timeout after 10 s.
SOON = {"BAS_SESSION_TIMEOUT": "130"}
NOTICE_MS = 30_000
# The page's own module, whose path has the version of the files.
ASK = r"""import(
    document.querySelector("script[type=module]").src.replace(/[a-z_]+[.]js$/, "api.js")
).then(({ askSession }) => askSession())"""


async def admin_at(desk: Desk, server: ServerProcess) -> Page:
    assert server.password is not None
    return await desk.logged_in(server.url, "admin", server.password)


def by_a_person(request: Request) -> bool:
    return request.headers.get("x-user-active") == "1"


async def test_the_page_says_when_the_session_ends_and_a_click_keeps_it_in_every_tab(
    desk: Desk, tmp_path: Path
) -> None:
    """ASVS v5.0.0-7.3.1: the person is warned before the inactivity timeout."""
    server = desk.serve(tmp_path / "data", **SOON)
    page = await admin_at(desk, server)
    other = await page.context.new_page()
    await other.goto(server.url)
    await is_live(other)
    for tab in (page, other):
        await expect(tab.locator("#session")).to_be_visible(timeout=NOTICE_MS)
        await expect(tab.locator("#session")).to_contain_text(
            re.compile(r"You will be logged out at .*\d:\d\d.*nobody has used this page")
        )

    # From the keyboard: moving the pointer to the button would keep the session by itself.
    async with page.expect_response("**/auth/status") as answered:
        await page.get_by_role("button", name="Stay logged in").press("Enter")

    answer = await answered.value
    assert by_a_person(answer.request)
    assert (await answer.json())["expires_in"] > 120
    for tab in (page, other):
        await expect(tab.locator("#session")).to_be_hidden()
        await is_live(tab)


async def test_moving_the_pointer_is_enough_to_stay(desk: Desk, tmp_path: Path) -> None:
    page = await admin_at(desk, desk.serve(tmp_path / "data", **SOON))
    await expect(page.locator("#session")).to_be_visible(timeout=NOTICE_MS)

    await page.mouse.move(200, 200)
    await page.mouse.move(210, 210)

    await expect(page.locator("#session")).to_be_hidden()


async def test_a_session_at_its_longest_life_offers_a_new_log_in(
    desk: Desk, tmp_path: Path
) -> None:
    """ASVS v5.0.0-7.3.2."""
    settings = {"BAS_SESSION_TIMEOUT": "100", "BAS_SESSION_ABSOLUTE": "100"}
    server = desk.serve(tmp_path / "data", **settings)
    page = await admin_at(desk, server)
    await expect(page.locator("#session")).to_contain_text("a log-in does not last longer")

    await page.get_by_role("button", name="Log in again").click()

    await page.wait_for_url("**/auth/login?next=*")
    await log_in(page, "admin", str(server.password))
    await page.wait_for_url(f"{server.url}/")
    await is_live(page)


async def test_the_end_is_given_by_the_server_s_clock(desk: Desk, tmp_path: Path) -> None:
    server = desk.serve(tmp_path / "data", BAS_SESSION_TIMEOUT="100", BAS_SESSION_ABSOLUTE="100")
    page = await desk.window(workers=False)
    await page.clock.install(time=datetime.now(UTC) + timedelta(minutes=37))
    began = datetime.now(UTC)
    await page.goto(server.url)
    await log_in(page, "admin", str(server.password))
    text = page.locator("#session-text")
    await expect(text).to_contain_text("You will be logged out at")
    ends = [began + timedelta(seconds=100), datetime.now(UTC) + timedelta(seconds=100)]

    shown = re.search(r":(\d\d)", await text.inner_text())

    assert shown is not None
    assert int(shown[1]) in {end.minute for end in ends}


async def test_a_page_that_nobody_touches_never_claims_that_a_person_is_there(
    desk: Desk, tmp_path: Path
) -> None:
    """ASVS v5.0.0-7.3.1: neither the page's own requests nor made-up events count."""
    server = desk.serve(tmp_path / "data")
    context = (await desk.window()).context
    answer = await context.request.post(
        f"{server.url}/auth/login", data={"username": "admin", "password": server.password}
    )
    assert answer.status == 200
    page = await context.new_page()
    asked: list[Request] = []

    def record(request: Request) -> None:
        asked.append(request)

    page.on("request", record)
    await page.goto(server.url)
    await is_live(page)
    await page.evaluate(
        """() => {
          for (const type of ["keydown", "pointerdown", "pointermove", "wheel"])
            dispatchEvent(new Event(type));
        }"""
    )
    await page.evaluate(f"() => {ASK}")
    assert [request.url for request in asked if by_a_person(request)] == []
    await page.keyboard.press("Shift")
    await page.evaluate(f"() => {ASK}")
    assert [by_a_person(request) for request in asked][-1] is True


async def test_two_servers_on_one_host_keep_their_users_in_one_browser(
    desk: Desk, tmp_path: Path
) -> None:
    desk.expect_complaint(rf"status of 401 .*{STREAM}")
    one, other = desk.serve(tmp_path / "one"), desk.serve(tmp_path / "other")
    page = await admin_at(desk, one)
    second = await page.context.new_page()
    await second.goto(other.url)
    await log_in(second, "admin", str(other.password))
    await is_live(second)

    await page.reload()
    await is_live(page)
    await second.reload()
    await is_live(second)
    await page.get_by_role("button", name="Log out").click()
    await page.wait_for_url("**/auth/login?reason=out")
    await second.reload()
    await is_live(second)


async def test_the_log_in_page_says_that_the_browser_kept_no_session(
    desk: Desk, tmp_path: Path
) -> None:
    server = desk.serve(tmp_path / "data", BAS_COOKIE_SECURE="always")
    page = await desk.window()
    await page.goto(f"http://bas.local:{server.port}/auth/login")

    await log_in(page, "admin", str(server.password))

    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("this browser kept no session")
    await expect(alert).to_contain_text("open this page with https")
    await expect(page.get_by_role("button", name="Log in")).to_be_enabled()


async def test_a_cookie_that_was_kept_for_https_does_not_prevent_a_log_in_over_http(
    desk: Desk, tmp_path: Path
) -> None:
    server = desk.serve(tmp_path / "data")
    page = await desk.window()
    await page.context.add_cookies(
        [
            {
                "name": "bas_session_id",
                "value": "x" * 43,
                "domain": "bas.local",
                "path": "/",
                "secure": True,
            }
        ]
    )
    await page.goto(f"http://bas.local:{server.port}/")

    await log_in(page, "admin", str(server.password))

    await is_live(page)
