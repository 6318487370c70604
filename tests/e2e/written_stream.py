"""A dashboard whose stream the test writes: the test is the server, for what the page hears."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page, expect

from tests.e2e.desk import is_live, log_in
from tests.e2e.zone_events import NOW

# In the place of the browser's EventSource: `send` is the server, `lose` the network.
STREAM_OF_THE_TEST = """
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
    """What the server tells."""
    await page.evaluate("([name, data]) => send(name, data)", [name, data])


async def lose(page: Page) -> None:
    """Break the connection."""
    await page.evaluate("lose()")
    await expect(page.locator("#connection")).to_contain_text("Connection lost")


async def begin(page: Page, site: str, *zones: dict[str, Any]) -> None:
    """Open the dashboard with these zones in its snapshot."""
    await page.add_init_script(STREAM_OF_THE_TEST)
    await page.goto(site)
    await log_in(page, "operator")
    await expect(page.locator("#who")).to_contain_text("operator")  # then it opens the stream
    await tell_all(page, *zones)
    # The first drawing of a card says nothing: what the test tells next is a change of it.
    await expect(page.locator(".zone")).to_have_count(len(zones))


async def tell_all(page: Page, *zones: dict[str, Any]) -> None:
    """How each stream begins."""
    await send(page, "hello", {"resume": "fresh", "ts": NOW, "heartbeat_s": 20})
    await send(page, "snapshot", {"zones": list(zones)})
    await is_live(page)
