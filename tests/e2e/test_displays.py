"""A wall screen: its link makes it a display, which shows the zones and changes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from tests.e2e.desk import SOON_MS, STREAM, Desk, is_live
from tools.process import run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def command(folder: Path, *arguments: str) -> str:
    """What a command prints."""
    done = await asyncio.to_thread(run_command, *arguments, data_dir=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_link_opens_the_wall_display_for_good_until_the_display_is_revoked(
    desk: Desk, tmp_path: Path
) -> None:
    desk.expect_complaint(rf"status of 401 .*{STREAM}")
    desk.expect_complaint(r"status of 404 .*/auth/display$")
    folder = tmp_path / "data"
    server = desk.serve(folder)
    said = await command(folder, "create-token", "lobby", "--display")
    link = f"{server.url}/auth/display#{said.splitlines()[1].partition('#')[2]}"
    reading = {"temp_tenths": 215, "sensor_ok": True, "device_id": "lab"}
    async with httpx.AsyncClient(base_url=server.url) as device:
        assert (await device.post("/api/sensor_data", json=reading)).status_code == 200

    screen = await desk.window()
    await screen.goto(link)
    await screen.wait_for_url(f"{server.url}/display")
    await is_live(screen)
    await expect(screen.locator("#who")).to_have_text("Display lobby")
    await expect(screen.locator(".zone")).to_have_count(1)
    await expect(screen.locator("button, input, select, a")).to_have_count(0)

    # A screen opens its link again at each start.
    await screen.goto("about:blank")
    await screen.goto(link)
    await screen.wait_for_url(f"{server.url}/display")
    await is_live(screen)

    stranger = await desk.window()
    await stranger.goto(link)
    await expect(stranger.get_by_role("alert")).to_contain_text("used already")

    await command(folder, "revoke-token", "lobby")
    await screen.wait_for_url("**/auth/login?*", timeout=SOON_MS)
