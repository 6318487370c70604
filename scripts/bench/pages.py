"""The pages in a real Chromium: a site of 1,000 zones that all post every 2 s, and two browsers."""

from __future__ import annotations

import asyncio
import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, Page, async_playwright

from scripts.bench.host import server
from scripts.bench.table import percentile

ZONES, POSTS_A_SECOND, SECONDS = 1000, 10, 60.0
CHANGES = 100
# A day of ten zones that post every 2 s. What the memory grows by after its first quarter counts.
DAY_READINGS = 432_000
QUIET_S = 2.0
SETTINGS = {
    "BAS_AUTH_MODE": "disabled",
    "BAS_NEW_ZONES_PER_HOUR": "20000",
    "BAS_POSTS_PER_MINUTE": "0",
}
OPENED = """() => [
  performance.getEntriesByName("first-contentful-paint")[0].startTime, performance.now(),
]"""
COUNT_LONG_TASKS = """() => {
  window.long = [];
  new PerformanceObserver((list) => long.push(...list.getEntries().map((one) => one.duration)))
    .observe({ type: "longtask" });
}"""
SCROLL = """async () => {
  let [frames, goes] = [0, true];
  const began = performance.now();
  const frame = () => { frames += 1; if (goes) requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  for (let at = 0; at < 90; at += 1) {
    scrollTo(0, (at * 137) % document.documentElement.scrollHeight);
    await new Promise((resolve) => setTimeout(resolve, 33));
  }
  goes = false;
  scrollTo(0, 0);
  return frames / ((performance.now() - began) / 1000);
}"""
WATCH = """(id) => {
  window.seen = new Map();
  const cell = document.querySelector(`[data-device="${id}"] .setpoint`);
  new MutationObserver(() => seen.set(Math.round(parseFloat(cell.textContent) * 10), Date.now()))
    .observe(cell, { childList: true, characterData: true, subtree: true });
}"""
CHANGE = """async ([id, setpoint]) => {
  const began = Date.now();
  const body = JSON.stringify({ device_id: id, setpoint_tenths: setpoint });
  await fetch("/api/set_setpoint",
    { method: "POST", headers: { "Content-Type": "application/json" }, body });
  return began;
}"""


async def measure(data_dir: Path, seconds: float = SECONDS, share: float = 1.0) -> dict[str, float]:
    """The figures; `share` is how much of the day's readings are posted."""
    chromium = shutil.which("chromium")
    assert chromium is not None, "Debian: apt-get install chromium"
    with server(data_dir, **SETTINGS) as process:
        async with async_playwright() as playwright, httpx.AsyncClient(timeout=60) as devices:
            for first in range(0, ZONES, ZONES // 2):
                await _post(devices, process.url, range(first, first + ZONES // 2))
            arguments = ["--headless=new", "--no-sandbox", "--disable-gpu"]
            browser = await playwright.chromium.launch(executable_path=chromium, args=arguments)
            found = await _figures(browser, devices, process.url, seconds, share)
            await browser.close()
    return found


async def _figures(
    browser: Browser, devices: httpx.AsyncClient, url: str, seconds: float, share: float
) -> dict[str, float]:
    page = await _opened(browser, url)
    paint, interactive = await page.evaluate(OPENED)
    nodes = await page.evaluate("document.querySelectorAll('*').length")
    await asyncio.sleep(QUIET_S)
    feeding = asyncio.create_task(_feed(devices, url))
    try:
        await page.evaluate(COUNT_LONG_TASKS)
        session: Any = await page.context.new_cdp_session(page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})
        used = -await _processor_s(session)
        await asyncio.sleep(seconds)
        used += await _processor_s(session)
        long = await page.evaluate("long")
        frames = await page.evaluate(SCROLL)
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding
    delays = await _changes(page, await _opened(browser, url))
    return {
        "overview of 1,000 zones, first paint": paint,
        "overview of 1,000 zones, interactive": interactive,
        "overview of 1,000 zones, elements": nodes,
        "1,000 zones at 0.5 Hz, long tasks a minute": len(long) * 60 / seconds,
        "1,000 zones at 0.5 Hz, longest task": max(long, default=0),
        "1,000 zones at 0.5 Hz, processor of the page": used / seconds * 100,
        "1,000 zones at 0.5 Hz, frames while scrolling": frames,
        "a change in a second browser, p50": percentile(delays, 50),
        "a change in a second browser, p99": percentile(delays, 99),
        "memory more after a day": await _day(page, devices, url, share),
    }


async def _processor_s(session: Any) -> float:
    """The processor time of the page's main thread: other programs change it little."""
    found = (await session.send("Performance.getMetrics"))["metrics"]
    return next(float(one["value"]) for one in found if one["name"] == "TaskDuration")


async def _opened(browser: Browser, url: str) -> Page:
    """The overview in a browser of its own."""
    page = await (await browser.new_context(viewport={"width": 1280, "height": 900})).new_page()
    await page.goto(url)
    await page.wait_for_selector(".zone .edit:visible")
    return page


async def _post(devices: httpx.AsyncClient, url: str, zones: range) -> None:
    rows = [
        {
            "device_id": f"zone {number % ZONES}",
            "temp_tenths": random.randint(210, 245),
            "sensor_ok": number % 111 != 7,
        }
        for number in zones
    ]
    (await devices.post(f"{url}/api/sensor_data/batch", json=rows)).raise_for_status()


async def _feed(devices: httpx.AsyncClient, url: str) -> None:
    """Post for all zones every 2 s, some of them at a time."""
    loop, some = asyncio.get_running_loop(), ZONES // (2 * POSTS_A_SECOND)
    due, first = loop.time(), 0
    while True:
        await _post(devices, url, range(first, first + some))
        first, due = first + some, due + 1 / POSTS_A_SECOND
        await asyncio.sleep(max(0.0, due - loop.time()))


async def _changes(one: Page, other: Page) -> list[float]:
    """From a change in one browser until the other shows it, in ms."""
    zone = await other.evaluate("document.querySelector('.zone').dataset.device")
    await other.evaluate(WATCH, zone)
    began: dict[int, float] = {}
    for number in range(CHANGES):
        setpoint = 150 + number
        began[setpoint] = await one.evaluate(CHANGE, [zone, setpoint])
        await other.wait_for_function("(setpoint) => seen.has(setpoint)", arg=setpoint)
    seen = dict(await other.evaluate("[...seen]"))
    return [seen[setpoint] - at for setpoint, at in began.items()]


async def _day(page: Page, devices: httpx.AsyncClient, url: str, share: float) -> float:
    """By how many MB the page's memory grows after the first quarter of a day."""
    session: Any = await page.context.new_cdp_session(page)

    async def used() -> float:
        await session.send("HeapProfiler.collectGarbage")
        return float((await session.send("Runtime.getHeapUsage"))["usedSize"]) / 1e6

    batches = round(DAY_READINGS * share / 1000)
    after_a_quarter = 0.0
    for number in range(batches):
        rows = [
            {
                "device_id": f"zone {at % 10}",
                "temp_tenths": 210 + (number + at) % 30,
                "sensor_ok": True,
            }
            for at in range(1000)
        ]
        (await devices.post(f"{url}/api/sensor_data/batch", json=rows)).raise_for_status()
        if number == batches // 4:
            after_a_quarter = await used()
    return await used() - after_a_quarter
