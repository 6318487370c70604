"""The first run: from an empty folder to the first reading of a registered device."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.conftest import PASSWORD
from tests.e2e.desk import Desk, card, is_live, log_in, post_reading
from tests.e2e.looks import overflow, run_as_shown
from tools.process import run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")

PHONE = {"width": 360, "height": 740}


async def test_an_admin_of_an_empty_site_registers_a_device_and_sees_its_first_reading(
    desk: Desk, tmp_path: Path
) -> None:
    arguments = ("create-user", "reader", "--role", "read-only", "--password-stdin")
    server = desk.serve(tmp_path / "data")
    made = await asyncio.to_thread(
        run_command, *arguments, data_dir=tmp_path / "data", stdin=PASSWORD
    )
    assert made.returncode == 0, made.stderr
    page = await desk.window(viewport=PHONE)
    await page.goto(server.url)
    assert server.password is not None
    await log_in(page, "admin", server.password)
    await is_live(page)
    await expect(page.get_by_role("heading", name="Register the first device")).to_be_visible()
    change_all = page.get_by_role("button", name="Change all zones")
    await expect(change_all).to_be_hidden()

    reader = await desk.logged_in(server.url, "reader")
    await expect(reader.locator("#no-zones")).to_contain_text("Ask an admin")
    await expect(reader.locator("#first-run")).to_be_hidden()

    await page.get_by_label("Device id").fill("roof/1 'é")
    await page.get_by_label("Name of its zone").fill("Roof")
    await page.get_by_role("button", name="Make its key").click()
    steps = page.locator("#first-run")
    key = await steps.locator(".key").inner_text()
    assert key.startswith("bas_")
    assert await steps.locator("canvas").evaluate("(code) => code.width") > 20
    await expect(steps).to_contain_text("Waiting for the first reading")
    await steps.get_by_text("A program for MicroPython").click()
    await expect(steps.locator(".program")).to_contain_text(f'"Authorization": "Bearer {key}"')
    assert await overflow(page) == 0

    # The reading of another device takes the key from nobody's eyes.
    await post_reading(server.url, "cellar", 180)
    await expect(card(page, "cellar")).to_be_visible()
    await expect(change_all).to_be_visible()
    await expect(steps).to_contain_text("Waiting for the first reading")
    assert "cool_active" in await run_as_shown(await steps.locator(".line").inner_text())
    await expect(steps).to_contain_text("The first reading is here. Roof: 21.5 °C.")
    await expect(card(page, "Roof")).to_be_visible()
    await expect(card(reader, "Roof")).to_be_visible()

    await steps.get_by_role("button", name="I have kept the key").click()
    await expect(steps).to_be_hidden()
    assert key not in await page.content()
