"""Desk: browser windows that are open at a server, and the errors in their consoles."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Response,
    expect,
)

from tests.conftest import PASSWORD
from tests.support.stream import caller, eventually, figures
from tools.process import ServerProcess

# Far more than a page takes for anything.
SOON_MS = 60_000
expect.set_options(timeout=SOON_MS)
STREAM = "/api/sse/telemetry"
# A page without a session asks for its status, is refused and opens the log-in page.
NO_SESSION = r"status of 40[01] .*/auth/status$"
# The browser logs these errors while the server does not answer.
_FILES = r"/static/\w+/[\w./-]+"
_ASKED = rf"/auth/status|/api/health|/api/zones|/api/telemetry/series|{_FILES}"
SERVER_AWAY = rf"net::ERR_.* .*({_ASKED}|{STREAM})(\?.*)?$"

# A page in a browser without SharedWorkers asks for the stream itself, where a test sees it.
WITHOUT_WORKERS = "delete window.SharedWorker;"

REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI}`));
"""


class Desk:
    """Opens windows; `complaints` collects the errors of their consoles that were not expected."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._servers: list[ServerProcess] = []
        self._expected = [NO_SESSION]
        self.complaints: list[str] = []
        self._reading: list[asyncio.Future[None]] = []
        self.refusals: list[str] = []  # what the server wrote with a 5xx, to explain a complaint

    def expect_complaint(self, pattern: str) -> None:
        """Expect console errors that match this pattern, which the test provokes."""
        self._expected.append(pattern)

    def serve(self, data_dir: Path, **settings: str) -> ServerProcess:
        """Start a server; `close` stops it after the windows."""
        server = ServerProcess(data_dir, **settings)
        self._servers.append(server)
        return server.start()

    async def window(self, *, workers: bool = True, **options: Any) -> Page:
        """A page in a new browser profile, which has SharedWorkers or not."""
        context = await self._browser.new_context(**options)
        if not workers:
            await context.add_init_script(WITHOUT_WORKERS)
        self._contexts.append(context)
        await context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._record_console_message)
        context.on("response", self._record_refusal)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        page = await context.new_page()
        page.set_default_timeout(SOON_MS)
        return page

    async def logged_in(
        self, url: str, username: str, password: str = PASSWORD, **options: Any
    ) -> Page:
        """A live dashboard of this user, without the log-in page, which takes as long."""
        page = await self.window(**options)
        sent = {"username": username, "password": password}
        answer = await page.request.post(f"{url}/auth/login", data=sent)
        assert answer.ok, await answer.text()
        await page.goto(url)
        await is_live(page)
        return page

    async def close(self) -> None:
        for one in self._reading:
            one.cancel()  # Playwright waits without end for the body of a page that was left
        for context in self._contexts:
            await context.close()
        for server in self._servers:
            server.__exit__(None, None, None)

    def _record_console_message(self, message: ConsoleMessage) -> None:
        text = f"{message.text} {message.location.get('url', '')}"
        if message.type == "error" and not any(re.search(known, text) for known in self._expected):
            self.complaints.append(text)

    def _record_refusal(self, response: Response) -> None:
        if response.status >= 500:
            self._reading.append(asyncio.ensure_future(self._read_refusal(response)))

    async def _read_refusal(self, response: Response) -> None:
        with contextlib.suppress(Error):  # the page was closed
            self.refusals.append(f"{response.url} {response.status} {await response.text()}")


async def log_in(page: Page, username: str, password: str = PASSWORD) -> None:
    """Fill in and send the log-in form."""
    await page.get_by_label("User name").fill(username)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


async def is_live(page: Page, timeout_s: float = 60.0) -> None:
    """Wait until the page shows that it is live."""
    await expect(page.locator("#connection")).to_have_text("Live", timeout=timeout_s * 1000)


async def go_back(page: Page) -> None:
    """Go back without waiting for `load`: a page from the back/forward cache is not loaded.

    Chromium refuses this while it puts another page into the tab, so it is tried until it is taken.
    """

    async def is_taken() -> bool:
        try:
            await page.go_back(wait_until="commit")
        except Error as error:
            if "Not attached to an active page" not in error.message:
                raise
            return False
        return True

    await eventually(is_taken, "the browser goes back")


async def open_streams(server: ServerProcess) -> int:
    """The number of open streams of the server."""
    async with caller(server.url) as client:
        return int((await figures(client))["bas_streams_open"])


async def no_stream_is_open(server: ServerProcess, but: int = 0) -> None:
    """Wait until the streams of the pages that the user left are closed, `but` for some."""

    async def is_so() -> bool:
        return await open_streams(server) <= but

    await eventually(is_so, f"no stream of a page that was left is open, but for {but}")


async def one_stream_is_open(server: ServerProcess) -> None:
    """Wait until the pages share one stream: one of before may still be closing."""

    async def is_so() -> bool:
        return await open_streams(server) == 1

    await eventually(is_so, "exactly one stream is open")


def card(page: Page, device_id: str) -> Any:
    """The card whose heading is this device id."""
    heading = page.get_by_role("heading", name=device_id, exact=True)
    return page.locator(".zone").filter(has=heading)


async def post_reading(
    url: str, device_id: str, temp_tenths: int, sensor_ok: bool = True, **more: Any
) -> None:
    """Post a reading as a controller does; the server must accept it."""
    body = {"device_id": device_id, "temp_tenths": temp_tenths, "sensor_ok": sensor_ok, **more}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{url}/api/sensor_data", json=body)
    assert answer.status_code == 200, answer.text
