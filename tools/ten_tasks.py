"""`python -m tools.ten_tasks` does the tasks of docs/comparison.md in a Chromium: clicks, seconds.

A click counts as the page gets it. The seconds are those of the pages: nobody reads or thinks.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from playwright.async_api import Page, async_playwright, expect

from tools.process import ServerProcess

COUNT = """addEventListener("click", (event) => {
  if (event.isTrusted && event.detail > 0) {
    sessionStorage.setItem("clicks", Number(sessionStorage.getItem("clicks") ?? 0) + 1);
  }
}, true);"""
CLICKS = "Number(sessionStorage.getItem('clicks') ?? 0)"
ZONES = 40
Task = Callable[[Page], Awaitable[None]]


async def problems(page: Page) -> None:
    """See which zones have a problem"""
    await page.get_by_role("link", name="Building automation").click()
    await expect(page.locator("#site")).to_contain_text("1 zone of 40 needs attention")


async def find(page: Page) -> None:
    """Find a zone by its name"""
    await page.get_by_label("Search zones").click()
    await page.keyboard.type("zone 33")
    await expect(page.locator(".zone .name")).to_have_text(["zone 33"])


async def change(page: Page) -> None:
    """Change its setpoint"""
    await page.get_by_role("button", name="Change setpoint of zone 33").click()
    await page.get_by_label("Setpoint in °C").fill("20.5")
    await page.get_by_role("button", name="Apply").click()
    await expect(page.locator(".zone .setpoint")).to_have_text(["20.5 °C"])


async def undo(page: Page) -> None:
    """Take it back"""
    await page.get_by_role("button", name="Undo").click()
    await expect(page.locator(".zone .setpoint")).to_have_text(["23.0 °C"])


async def change_all(page: Page) -> None:
    """Change the setpoint of all zones"""
    await page.get_by_role("button", name="Change all zones").click()
    await page.get_by_label("Setpoint in °C").fill("22.0")
    await page.get_by_role("button", name="Apply").click()
    if await page.get_by_role("button", name="Change 40 zones").count():
        await page.get_by_role("button", name="Change 40 zones").click()
    await expect(page.locator(".zone .setpoint")).to_have_text(["22.0 °C"])


async def week(page: Page) -> None:
    """See the last seven days of a zone"""
    await page.get_by_role("link", name="zone 33").click()
    await page.get_by_role("button", name="7 days").click()
    await expect(page.locator("#figures")).to_contain_text("Readings")


async def csv(page: Page) -> None:
    """Download them as CSV"""
    async with page.expect_download():
        await page.get_by_role("link", name="Readings of this span as CSV").click()


async def acknowledge(page: Page) -> None:
    """Acknowledge an alarm"""
    await page.get_by_role("link", name="Alarms", exact=False).first.click()
    await page.get_by_role("button", name="Acknowledge").click()
    await expect(page.locator(".alarm")).to_contain_text("acknowledged by admin")


async def register(page: Page) -> None:
    """Register a device and get its key"""
    await page.get_by_role("link", name="Admin").click()
    await page.get_by_role("link", name="Devices").click()
    await page.get_by_role("button", name="Register a device").click()
    await page.get_by_label("Device id").fill("attic")
    await page.get_by_role("button", name="Make its key").click()
    await expect(page.locator(".secret").first).to_contain_text("bas_")
    await page.get_by_role("button", name="I have kept it").click()


async def wall(page: Page) -> None:
    """Make a wall display that shows all zones and can change nothing"""
    await page.get_by_role("link", name="Tokens").click()
    await page.get_by_role("button", name="New token").click()
    await page.get_by_label("Name", exact=True).fill("lobby")
    await page.get_by_label("For").select_option("display")
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator(".secret").first).to_contain_text("/auth/display#")


TASKS: tuple[Task, ...] = (
    *(problems, find, change, undo, change_all),
    *(week, csv, acknowledge, register, wall),
)


def main() -> None:
    """Print a row for each task: what, clicks, seconds."""
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        rows = [
            {"device_id": f"zone {number}", "temp_tenths": 221, "sensor_ok": number != 7}
            for number in range(ZONES)
        ]
        httpx.post(f"{server.url}/api/sensor_data/batch", json=rows).raise_for_status()
        asyncio.run(_done(server))
        server.terminate()


async def _done(server: ServerProcess) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless=new", "--no-sandbox"]
        )
        page = await browser.new_page()
        await page.add_init_script(COUNT)
        await page.goto(server.url)
        await page.get_by_label("User name").fill("admin")
        await page.get_by_label("Password").fill(server.password or "")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.locator("#connection")).to_have_text("Live")
        for number, task in enumerate(TASKS, 1):
            clicks, began = await page.evaluate(CLICKS), time.perf_counter()
            await task(page)
            seconds = time.perf_counter() - began
            clicks = await page.evaluate(CLICKS) - clicks
            print(f"| {number} | {task.__doc__} | {clicks} | {seconds:.1f} s |")
        await browser.close()


if __name__ == "__main__":
    main()
