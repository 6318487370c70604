"""Desk: browser windows of people at a server, and every complaint their pages make."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.conftest import PASSWORD
from tests.support.process import ServerProcess

STREAM = "/api/sse/telemetry"
# What a page does without a session: it asks, is refused and leads to the log-in page.
NO_SESSION = r"status of 40[01] .*/auth/status$"
# What the browser itself writes while nobody answers.
SERVER_AWAY = rf"net::ERR_.* .*(/auth/status|/api/health|/static/icon\.svg|{STREAM})(\?.*)?$"

REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI}`));
"""


class Desk:
    """Opens windows; `complaints` collects what their consoles say, but for what is expected."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._servers: list[ServerProcess] = []
        self._expected = [NO_SESSION]
        self.complaints: list[str] = []

    def expect_complaint(self, pattern: str) -> None:
        """A test that provokes an error says which one."""
        self._expected.append(pattern)

    def serve(self, data_dir: Path, **settings: str) -> ServerProcess:
        """Start a server; it is ended after the windows are closed."""
        server = ServerProcess(data_dir, **settings)
        self._servers.append(server)
        return server.start()

    async def window(self, **options: Any) -> Page:
        """A page in a browser profile of its own."""
        context = await self._browser.new_context(**options)
        self._contexts.append(context)
        await context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        page = await context.new_page()
        page.set_default_timeout(5000)
        return page

    async def logged_in(
        self, url: str, username: str, password: str = PASSWORD, **options: Any
    ) -> Page:
        """A live dashboard of this user."""
        page = await self.window(**options)
        await page.goto(url)
        await log_in(page, username, password)
        await is_live(page)
        return page

    async def close(self) -> None:
        for context in self._contexts:
            await context.close()
        for server in self._servers:
            server.__exit__(None, None, None)

    def _heard(self, message: ConsoleMessage) -> None:
        text = f"{message.text} {message.location.get('url', '')}"
        if message.type == "error" and not any(re.search(known, text) for known in self._expected):
            self.complaints.append(text)


async def log_in(page: Page, username: str, password: str = PASSWORD) -> None:
    """Fill in the log-in page and send it."""
    await page.get_by_label("User name").fill(username)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


async def is_live(page: Page, timeout_s: float = 5.0) -> None:
    """Wait until the page says that it is live."""
    await expect(page.locator("#connection")).to_have_text("Live", timeout=timeout_s * 1000)


def card(page: Page, device_id: str) -> Any:
    """The card of a zone, as its heading names it."""
    heading = page.get_by_role("heading", name=device_id, exact=True)
    return page.locator(".zone").filter(has=heading)


async def post_reading(
    url: str, device_id: str, temp_tenths: int, sensor_ok: bool = True, **more: Any
) -> None:
    """What a controller posts."""
    body = {"device_id": device_id, "temp_tenths": temp_tenths, "sensor_ok": sensor_ok, **more}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{url}/api/sensor_data", json=body)
    assert answer.status_code == 200, answer.text
