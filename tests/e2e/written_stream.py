"""A dashboard whose live stream is written by the test instead of the server."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page, expect

from tests.e2e.desk import is_live, log_in
from tests.e2e.zone_events import NOW

# Replaces the browser's EventSource: `send` delivers an event, `lose` breaks the connection. The
# page shares its stream with no other one.
STREAM_OF_THE_TEST = """
delete window.SharedWorker;
delete window.BroadcastChannel;
window.EventSource = class extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSED = 2;
  readyState = 1;
  constructor() {
    super();
    window.send = (name, data) =>
      this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data) }));
    window.lose = () => this.dispatchEvent(new Event("error"));
  }
  close() {}
};"""


async def send(page: Page, name: str, data: dict[str, Any]) -> None:
    """Send an event to the page as the server does."""
    await page.evaluate("([name, data]) => send(name, data)", [name, data])


async def lose(page: Page) -> None:
    """Break the connection of the page's stream."""
    await page.evaluate("lose()")
    await expect(page.locator("#connection")).to_contain_text("Connection lost")


async def begin(page: Page, site: str, *zones: dict[str, Any]) -> None:
    """Open the dashboard with these zones in its snapshot."""
    await page.add_init_script(STREAM_OF_THE_TEST)
    await page.goto(site)
    await log_in(page, "operator")
    await expect(page.locator("#who")).to_contain_text("operator")  # then it opens the stream
    await send_snapshot(page, *zones)
    # The page does not announce the first state of a card. Wait for it, so that the page
    # announces the next event of the test as a change.
    await expect(page.locator(".zone")).to_have_count(len(zones))


async def send_snapshot(page: Page, *zones: dict[str, Any]) -> None:
    """Send the first events of a stream: hello and a snapshot with these zones."""
    await send(page, "hello", {"resume": "fresh", "ts": NOW, "heartbeat_s": 20})
    await send(page, "snapshot", {"zones": list(zones)})
    await is_live(page)
