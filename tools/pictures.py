"""`python -m tools.pictures` takes the pictures of README.md: docs/images/*.png.

It needs a Chromium and tests/requirements.txt. A new server gets eight zones and a day of readings.
"""

from __future__ import annotations

import asyncio
import math
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from playwright.async_api import Browser, async_playwright

from tools.process import REPOSITORY, ServerProcess, run_command

FOLDER = REPOSITORY / "docs" / "images"
# One batch takes a day of readings: several ones look like a device with a wrong clock.
ROWS, STEP_S = 990, 87.0
PERIOD_S = 2.0
SETTLE_MS = 5000


class Room(NamedTuple):
    """A zone: its device, its name and location, its temperature (tenths) and how that swings."""

    device_id: str
    name: str
    location: str
    middle: int
    swing: float
    setpoint: int = 230


ROOMS = (
    Room("hall-1", "Reception", "Ground floor", 228, 4),
    Room("meet-1", "Meeting room", "First floor", 234, 9),
    Room("rack-1", "Server room", "Basement", 222, 8, 225),
    Room("desk-1", "Open office", "First floor", 230, 7),
    Room("cook-1", "Kitchen", "Ground floor", 226, 9),
    Room("file-1", "Archive", "Basement", 216, 2),
    Room("shop-1", "Workshop", "Ground floor", 232, 8),
    Room("cold-1", "Cold store", "Basement", 212, 3, 200),
)
BROKEN = "cold-1"


def main() -> None:
    """Take all pictures."""
    random.seed(7)
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        made = run_command("create-token", "lobby", "--display", data_dir=Path(folder))
        asyncio.run(_taken(server, made.stdout.splitlines()[1].partition("#")[2]))
        server.terminate()


async def _taken(server: ServerProcess, display: str) -> None:
    login = {"username": "admin", "password": server.password}
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as admin:
        (await admin.post("/auth/login", json=login)).raise_for_status()
        session = dict(admin.cookies)
        for room in ROOMS:
            await _filled(admin, room)
        posting = asyncio.create_task(_post_on(admin))
        await _all(server, session, display)
        posting.cancel()


async def _all(server: ServerProcess, session: dict[str, str], display: str) -> None:
    async with async_playwright() as playwright:
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--force-color-profile=srgb",
        ]
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        cookies = [{"name": k, "value": v, "url": server.url} for k, v in session.items()]
        await _picture(browser, cookies, f"{server.url}/", "dashboard", "light", 1200, 860)
        zone = f"{server.url}/zone?device_id=rack-1&last=1440"
        await _picture(browser, cookies, zone, "zone", "dark", 1200, 860)
        link = f"{server.url}/auth/display#{display}"
        await _picture(browser, [], link, "wall", "dark", 1200, 675)
        await browser.close()


async def _filled(admin: httpx.AsyncClient, room: Room) -> None:
    """Its names and its setpoint, then a day of readings."""
    await _post(admin, room)
    names = {"name": room.name, "location": room.location}
    (await admin.patch(f"/api/zones/{room.device_id}", json=names)).raise_for_status()
    chosen = {"device_id": room.device_id, "setpoint_tenths": room.setpoint}
    (await admin.post("/api/set_setpoint", json=chosen)).raise_for_status()
    now_ms = time.time_ns() // 1_000_000
    rows: list[dict[str, Any]] = [
        {
            "device_id": room.device_id,
            "temp_tenths": _temperature(room, ago * STEP_S),
            "sensor_ok": True,
            "timestamp": now_ms - round(ago * STEP_S * 1000),
        }
        for ago in range(ROWS, 0, -1)
    ]
    (await admin.post("/api/sensor_data/batch", json=rows)).raise_for_status()


async def _post_on(admin: httpx.AsyncClient) -> None:
    """Post for all zones as their devices do; one of them has a broken sensor."""
    while True:
        for room in ROOMS:
            await _post(admin, room, works=room.device_id != BROKEN)
        await asyncio.sleep(PERIOD_S)


async def _post(admin: httpx.AsyncClient, room: Room, works: bool = True) -> None:
    temp = _temperature(room, 0) if works else None
    reading = {"device_id": room.device_id, "sensor_ok": works, "temp_tenths": temp}
    (await admin.post("/api/sensor_data", json=reading)).raise_for_status()


def _temperature(room: Room, seconds_ago: float) -> int:
    fast = math.sin(seconds_ago / 1600 + len(room.name))
    slow = math.cos(seconds_ago / 13_800)
    return round(room.middle + room.swing * (0.5 * fast + 0.8 * slow) + random.uniform(-0.8, 0.8))


async def _picture(
    browser: Browser,
    cookies: list[Any],
    url: str,
    name: str,
    scheme: Any,
    width: int,
    height: int,
) -> None:
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    await context.add_cookies(cookies)
    page = await context.new_page()
    await page.goto(url)
    await page.wait_for_selector(".zone:visible, .uplot")
    await page.wait_for_timeout(SETTLE_MS)  # a picture shows values that live
    await page.screenshot(path=FOLDER / f"{name}.png")
    await context.close()


if __name__ == "__main__":
    main()
