"""An open page shows that a zone's device stopped posting or that its posts are refused."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.e2e.desk import Desk, card, post_reading
from tools.process import ServerProcess, run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")

# A zone is silent after at least 10 s; the server checks every second.
SILENT_MS = 40_000


async def post_regularly(server: ServerProcess, device_id: str) -> None:
    """Post often enough for the server to learn the device's usual period."""
    for _ in range(4):
        await post_reading(server.url, device_id, 215)


async def opened(desk: Desk, server: ServerProcess) -> Page:
    assert server.password is not None
    return await desk.logged_in(server.url, "admin", server.password)


async def test_a_silent_zone_is_shown_as_silent_until_its_device_posts_again(
    desk: Desk, own_server: ServerProcess
) -> None:
    await post_regularly(own_server, "office")
    page = await opened(desk, own_server)
    office = card(page, "office")
    await expect(office.locator(".state")).to_have_text("Idle")

    await expect(office.locator(".state")).to_have_text("Silent", timeout=SILENT_MS)
    await expect(page).to_have_title(re.compile(r"\(1\) Building automation$"))
    await post_reading(own_server.url, "office", 216)
    await expect(office.locator(".state")).to_have_text("Idle")
    await expect(page).to_have_title("Building automation")
    assert any("zone 'office' of tenant 'default' is silent" in one for one in own_server.lines)


async def test_a_device_that_posts_without_its_key_is_shown_as_refused(
    desk: Desk, own_server: ServerProcess, tmp_path: Path
) -> None:
    await post_regularly(own_server, "office")
    page = await opened(desk, own_server)
    warning = card(page, "office").locator(".warning")
    done = await asyncio.to_thread(
        run_command, "register-device", "office", data_dir=tmp_path / "data"
    )
    assert done.returncode == 0, done.stderr

    reading = {"device_id": "office", "temp_tenths": 215, "sensor_ok": True}
    async with httpx.AsyncClient() as device:
        while not await warning.is_visible():
            answer = await device.post(f"{own_server.url}/api/sensor_data", json=reading)
            assert answer.status_code in (200, 401)
            await page.wait_for_timeout(500)
    await expect(warning).to_contain_text("Give the device its key.")
