"""The live connection: the page's message when it breaks, and how the page reconnects."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, Request, expect

from tests.e2e.desk import (
    SERVER_AWAY,
    SOON_MS,
    STREAM,
    Desk,
    card,
    is_live,
    log_in,
    no_stream_is_open,
    post_reading,
)
from tests.e2e.wire import Wire
from tools.process import ServerProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")

# The server spreads reconnects over 1 to 6 s, and the first attempt may come too early.
BACK_S = 60.0


class StreamRequests:
    """Records the URLs and the times of a page's requests for the stream."""

    def __init__(self, page: Page) -> None:
        self.urls: list[str] = []
        self.times: list[float] = []
        page.on("request", self._seen)

    def _seen(self, request: Request) -> None:
        if STREAM in request.url:
            self.urls.append(request.url)
            self.times.append(asyncio.get_running_loop().time())


async def admin_at(
    desk: Desk, server: ServerProcess, url: str = "", *, workers: bool = False
) -> Page:
    """The dashboard of the first admin, opened at `url` if it is given."""
    assert server.password is not None
    return await desk.logged_in(url or server.url, "admin", server.password, workers=workers)


def serve_again(desk: Desk, gone: ServerProcess, data_dir: Path, **settings: str) -> None:
    """Start another server on the port of one that has ended."""
    settings = {"BAS_SSE_HEARTBEAT_S": "1"} | settings
    desk.serve(data_dir, BAS_PORT=str(gone.port), **settings)


@asynccontextmanager
async def stream_slot_taken(server: ServerProcess, page: Page) -> AsyncIterator[None]:
    """Keep a stream of the page's session open from another client."""
    cookies = {c["name"]: c["value"] for c in await page.context.cookies()}
    agent = {"User-Agent": await page.evaluate("navigator.userAgent")}
    async with (
        httpx.AsyncClient(base_url=server.url, cookies=cookies, headers=agent) as client,
        client.stream("GET", STREAM) as stream,
    ):
        assert stream.status_code == 200
        yield


@pytest.mark.parametrize("workers", [True, False])
async def test_the_page_reports_a_killed_server_at_once_and_connects_to_a_new_one(
    desk: Desk, own_server: ServerProcess, tmp_path: Path, workers: bool
) -> None:
    desk.expect_complaint(SERVER_AWAY)
    await post_reading(own_server.url, "office", 215)
    page = await admin_at(desk, own_server, workers=workers)

    own_server.kill()

    connection = page.locator("#connection")
    await expect(connection).to_contain_text("Connection lost, reconnecting", timeout=SOON_MS)
    await expect(connection).to_contain_text("The values below are from")
    await expect(page).to_have_title(re.compile("^Not live"))
    serve_again(desk, own_server, tmp_path / "data")
    await is_live(page, BACK_S)
    await expect(page).to_have_title("Building automation")
    await post_reading(own_server.url, "office", 219)
    await expect(card(page, "office").locator(".temperature")).to_have_text("21.9 °C")


async def test_the_page_removes_zones_that_a_new_server_does_not_know(
    desk: Desk, tmp_path: Path
) -> None:
    desk.expect_complaint(SERVER_AWAY)
    first = desk.serve(tmp_path / "first", BAS_AUTH_MODE="disabled")
    await post_reading(first.url, "office", 215)
    await post_reading(first.url, "lab", 220)
    page = await desk.window()
    await page.goto(first.url)
    await expect(page.locator(".zone")).to_have_count(2)
    first.kill()

    serve_again(desk, first, tmp_path / "other", BAS_AUTH_MODE="disabled")
    await post_reading(first.url, "lab", 230)
    await is_live(page, BACK_S)

    await expect(page.locator(".zone .name")).to_have_text(["lab"])
    await expect(card(page, "lab").locator(".temperature")).to_have_text("23.0 °C")


async def test_the_page_reconnects_once_and_not_too_early_after_a_bye_event(
    desk: Desk, own_server: ServerProcess, tmp_path: Path
) -> None:
    desk.expect_complaint(SERVER_AWAY)
    page = await admin_at(desk, own_server)
    # The last module that a page of a new server loads.
    await expect(page.locator("#first-run")).to_be_visible()
    asked = StreamRequests(page)
    loop = asyncio.get_running_loop()

    stopped = loop.time()
    own_server.signal(signal.SIGTERM)
    await expect(page.locator("#connection")).to_contain_text("The server is restarting")
    assert await asyncio.to_thread(own_server.wait) == 0

    # In a thread, so that the loop records the time of each attempt while the server starts.
    await asyncio.to_thread(serve_again, desk, own_server, tmp_path / "data")
    await is_live(page, BACK_S)
    # 2 s is the shortest delay that `bye` announces; a duplicate attempt would follow at once.
    pauses = [later - earlier for earlier, later in pairwise([stopped, *asked.times])]
    assert pauses
    assert min(pauses) >= 1.95
    assert not any(
        "last_event_id" in url for url in asked.urls
    )  # the browser reconnected, not the page's script


async def test_the_page_notices_a_server_that_hangs_by_its_missing_heartbeats(
    desk: Desk, own_server: ServerProcess
) -> None:
    desk.expect_complaint(SERVER_AWAY)
    page = await admin_at(desk, own_server)
    own_server.signal(signal.SIGSTOP)
    try:
        # The connection stays open; only the heartbeats are missing.
        await expect(page.locator("#connection")).to_contain_text("is silent", timeout=SOON_MS)
        await expect(page.locator("#connection")).to_have_attribute("data-state", "silent")
    finally:
        own_server.signal(signal.SIGCONT)

    await is_live(page, BACK_S)
    await post_reading(own_server.url, "office", 219)
    await expect(card(page, "office").locator(".temperature")).to_have_text("21.9 °C")


async def test_heartbeats_keep_the_page_live_when_no_device_posts(
    desk: Desk, own_server: ServerProcess
) -> None:
    page = await desk.window(workers=False)
    await page.clock.install()
    await page.goto(own_server.url)
    assert own_server.password is not None
    await log_in(page, "admin", own_server.password)
    await is_live(page)
    asked = StreamRequests(page)

    for _ in range(2):  # both steps exceed the allowed silence together, but not each alone
        async with page.expect_event("console", lambda message: message.text == "beat"):
            await page.evaluate(BEAT)
        await page.clock.fast_forward(3000)

    await expect(page.locator("#connection")).to_have_text("Live")
    assert len(asked.urls) == 2  # both are from BEAT: the page did not reconnect


# Logs `beat` after two heartbeats: the page's own stream has then had one too.
BEAT = f"""() => {{
  const source = new EventSource("{STREAM}");
  let beats = 0;
  source.addEventListener("heartbeat", () => {{
    beats += 1;
    if (beats === 2) {{ source.close(); console.log("beat"); }}
  }});
}}"""


async def test_the_page_shows_readings_that_were_posted_while_it_was_disconnected(
    desk: Desk, own_server: ServerProcess
) -> None:
    desk.expect_complaint(SERVER_AWAY)
    await post_reading(own_server.url, "office", 200)
    async with Wire(own_server.port) as wire:
        page = await admin_at(desk, own_server, wire.url)
        await page.evaluate(RECORD_TEMPERATURES)
        wire.cut()
        await expect(page.locator("#connection")).to_contain_text("Connection lost")

        for temp in range(201, 221):
            await post_reading(own_server.url, "office", temp)
        await post_reading(own_server.url, "new one", 199)
        wire.mend()

        await is_live(page, BACK_S)
        await post_reading(own_server.url, "office", 221)
        await expect(card(page, "office").locator(".temperature")).to_have_text("22.1 °C")
        await expect(card(page, "new one").locator(".temperature")).to_have_text("19.9 °C")
        shown: list[float] = await page.evaluate("window.temperatures")
        assert shown == sorted(shown)


RECORD_TEMPERATURES = """() => {
  const shown = document.querySelector(".zone .temperature");
  window.temperatures = [];
  new MutationObserver(() => window.temperatures.push(parseFloat(shown.textContent)))
    .observe(shown, { childList: true, characterData: true, subtree: true });
}"""


async def test_the_page_retries_a_full_server_with_its_last_event_id(
    desk: Desk, tmp_path: Path
) -> None:
    desk.expect_complaint(SERVER_AWAY)
    desk.expect_complaint(rf"status of 503 .*{STREAM}")
    server = desk.serve(tmp_path / "data", BAS_SSE_MAX_STREAMS="1")
    await post_reading(server.url, "office", 200)  # the page of an empty site loads more
    async with Wire(server.port) as wire:
        page = await admin_at(desk, server, wire.url)
        asked = StreamRequests(page)
        wire.cut()
        await expect(page.locator("#connection")).to_contain_text("Connection lost")
        await no_stream_is_open(server)

        async with stream_slot_taken(server, page):
            async with page.expect_response(lambda answer: answer.status == 503):
                wire.mend()
            await post_reading(server.url, "office", 205)

        await is_live(page, BACK_S)
        assert "?last_event_id=" in asked.urls[-1]
        office = card(page, "office")
        await expect(office.locator(".temperature")).to_have_text("20.5 °C")


OPEN_ONE = """() => new Promise((resolve) => {
  const source = new EventSource("/api/sse/telemetry");
  source.onerror = () => resolve(source.readyState === EventSource.CLOSED);
})"""


async def test_a_page_beyond_the_streams_of_its_account_retries_and_an_eventsource_ends(
    desk: Desk, tmp_path: Path
) -> None:
    desk.expect_complaint(rf"status of 429 .*{STREAM}")
    server = desk.serve(tmp_path / "data", BAS_SSE_STREAMS_PER_ACCOUNT="1")
    first = await admin_at(desk, server)
    second = await desk.window(workers=False)
    await second.goto(server.url)
    assert server.password is not None
    async with second.expect_response(lambda answer: answer.status == 429):
        await log_in(second, "admin", server.password)
    # A plain EventSource learns no cause, and does not come back.
    assert await second.evaluate(OPEN_ONE) is True
    await first.close()
    await is_live(second, BACK_S)
