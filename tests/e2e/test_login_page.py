"""The log-in page in a real browser."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from tests.conftest import PASSWORD
from tests.e2e.desk import Desk, is_live, log_in

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_user_can_log_in_with_the_keyboard_alone(desk: Desk, site: str) -> None:
    page = await desk.window()
    await page.goto(f"{site}/auth/login")
    await expect(page.get_by_label("User name")).to_be_focused()

    await page.keyboard.type("operator")
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")

    await is_live(page)
    await expect(page.locator("#who")).to_have_text("operator (operator)")


async def test_a_wrong_password_shows_an_error_and_can_be_corrected(desk: Desk, site: str) -> None:
    desk.expect_complaint(r"status of 401 .*/auth/login$")
    page = await desk.window()
    await page.goto(site)

    await log_in(page, "operator", "not this one")

    await expect(page.get_by_role("alert")).to_have_text("Wrong user name or password.")
    await expect(page.get_by_label("Password")).to_have_value("")
    await expect(page.get_by_label("Password")).to_be_focused()
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await is_live(page)


async def test_the_page_says_how_long_an_account_is_locked(desk: Desk, site: str) -> None:
    desk.expect_complaint(r"status of 423 .*/auth/login$")
    async with httpx.AsyncClient(base_url=site) as client:
        for _ in range(5):
            await client.post("/auth/login", json={"username": "locked", "password": "wrong"})
    page = await desk.window()
    await page.goto(site)

    await log_in(page, "locked")

    alert = page.get_by_role("alert")
    await expect(alert).to_contain_text("This account is locked")
    await expect(alert).to_contain_text("Try again in 15 minutes.")


async def test_the_form_marks_its_fields_for_password_managers(desk: Desk, site: str) -> None:
    page = await desk.window()
    await page.goto(f"{site}/auth/login")

    await expect(page.get_by_label("User name")).to_have_attribute("autocomplete", "username")
    password = page.get_by_label("Password")
    await expect(password).to_have_attribute("autocomplete", "current-password")
    await expect(password).to_have_attribute("type", "password")
    await expect(page.locator("form")).to_have_attribute("method", "post")


async def test_the_form_cannot_be_sent_before_the_script_has_loaded(desk: Desk, site: str) -> None:
    page = await desk.window(java_script_enabled=False)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    await page.goto(f"{site}/auth/login")

    await page.get_by_label("User name").fill("operator")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("button", name="Log in")).to_be_disabled()
    assert [line for line in asked if "/auth/" in line] == [f"GET {site}/auth/login"]


async def test_a_user_without_a_session_is_redirected_to_log_in_and_back(
    desk: Desk, site: str
) -> None:
    page = await desk.window()
    await page.goto(f"{site}/?from=bookmark")
    await page.wait_for_url("**/auth/login?*")

    await log_in(page, "reader")

    await page.wait_for_url(f"{site}/?from=bookmark")
    await is_live(page)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "/%09/evil.example/",
        "/.//evil.example/",
        "javascript:alert(1)",
        "/auth/login",
    ],
)
async def test_log_in_never_redirects_to_another_site(
    desk: Desk, site: str, elsewhere: str
) -> None:
    # One of the addresses is a path of this site, which answers 404.
    desk.expect_complaint(rf"status of 404 .*{site}(//evil|/favicon.ico)")
    page = await desk.window()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{site}/auth/login?next={elsewhere}")

    async with page.expect_navigation(wait_until="commit"):
        await log_in(page, "reader")

    assert page.url.startswith(f"{site}/")
    assert not page.url.startswith(f"{site}/auth/login")
    assert [url for url in asked if not url.startswith(f"{site}/")] == []


async def test_a_server_with_authentication_off_opens_the_dashboard_at_once(
    desk: Desk, tmp_path: Path
) -> None:
    server = desk.serve(tmp_path / "data", BAS_AUTH_MODE="disabled")
    page = await desk.window()

    await page.goto(f"{server.url}/auth/login")

    await is_live(page)
    assert page.url == f"{server.url}/"
    await expect(page.get_by_role("button", name="Log out")).to_be_hidden()
    await expect(page.locator("#who")).to_contain_text("Log-in is off")
    await expect(page.locator("#no-zones")).to_be_visible()
