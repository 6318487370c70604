"""Names of devices that were made to act as code are shown as text, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Dialog, Page, Request, expect

from tests.component.security.hostile_names import HOSTILE_NAMES
from tests.conftest import PASSWORD
from tests.e2e.desk import Desk, is_live, log_in, post_reading
from tools.process import run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Elements that the page does not have by itself.
FOREIGN = (
    "img, svg, object, embed, iframe, base, script:not([src^='/static/']), [onerror], [onload]"
)


@pytest.fixture
def url(desk: Desk, tmp_path: Path) -> str:
    """A server of its own, with an operator."""
    folder = tmp_path / "data"
    arguments = ("create-user", "operator", "--role", "operator", "--password-stdin")
    assert run_command(*arguments, data_dir=folder, stdin=PASSWORD).returncode == 0
    return desk.serve(folder).url


def watched(page: Page) -> list[str]:
    """What no name may cause: dialogs, and requests to other hosts."""
    seen: list[str] = []

    async def refuse(dialog: Dialog) -> None:
        seen.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def note(request: Request) -> None:
        if "evil.example" in request.url.partition("?")[0]:
            seen.append(request.url)

    page.on("dialog", refuse)
    page.on("request", note)
    return seen


async def shown(page: Page) -> list[str]:
    return sorted(await page.locator(".zone .name").all_text_contents())


@pytest.mark.parametrize("live", [True, False], ids=["live", "snapshot"])
async def test_every_hostile_name_is_shown_as_text_and_does_nothing(
    desk: Desk, url: str, live: bool
) -> None:
    """ASVS 5.0.0 V3.2.2, V1.2.1, V15.3.6: from an event and from the snapshot.

    `desk` fails the test if a page breaks the security policy or logs an error.
    """
    page = await desk.window()
    seen = watched(page)
    if live:
        await page.goto(url)
        await log_in(page, "operator")
        await is_live(page)
    for number, name in enumerate(HOSTILE_NAMES):
        # A silent zone and a faulty one have texts that name the device too.
        await post_reading(url, name, 200 + number, sensor_ok=number % 3 > 0)
    if not live:
        await page.goto(url)
        await log_in(page, "operator")
        await is_live(page)

    await expect(page.locator(".zone")).to_have_count(len(HOSTILE_NAMES))
    assert await shown(page) == sorted(HOSTILE_NAMES)
    assert await page.locator(FOREIGN).count() == 0
    # The form sends the name unchanged, and the page shows who changed what.
    for name in HOSTILE_NAMES:
        one = page.locator(".zone").filter(has=page.get_by_text(name, exact=True))
        await one.first.get_by_role("button").click()
        await page.get_by_label("Setpoint in °C").fill("25.5")
        await page.get_by_role("button", name="Apply").click()
        await expect(one.first.locator(".setpoint")).to_have_text("25.5 °C")
    assert await page.locator(FOREIGN).count() == 0
    assert seen == []
