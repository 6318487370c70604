"""The page of one zone: its chart from history and stream, its figures, its names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, Page, Request, expect

from tests.conftest import PASSWORD
from tests.e2e.desk import Desk, is_live, post_reading
from tests.e2e.looks import overflow
from tools.process import ServerProcess, run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")

NO_READING = "No temperature was measured in this span."


@pytest.fixture(scope="module")
def zone_site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with an admin and a reader."""
    data_dir: Path = tmp_path_factory.mktemp("zone-site")
    for name, role in (("boss", "admin"), ("guest", "read-only")):
        arguments = ("create-user", name, "--role", role, "--password-stdin")
        assert run_command(*arguments, data_dir=data_dir, stdin=PASSWORD).returncode == 0
    with ServerProcess(data_dir) as server:
        yield server.url
        server.terminate()


async def open_zone(desk: Desk, site: str, query: str, user: str = "boss") -> Page:
    page = await desk.logged_in(site, user)
    await page.goto(f"{site}/zone?{query}")
    await is_live(page)
    await expect(page.locator(".uplot")).to_be_visible()
    return page


def asked_span(request: Request) -> int:
    """The length of the span that a request asks a series for, in ms."""
    query = parse_qs(urlsplit(request.url).query)
    return int(query["end"][0]) - int(query["start"][0])


async def test_the_history_is_shown_and_goes_on_live(desk: Desk, zone_site: str) -> None:
    for temp in (213, 215, 211):
        await post_reading(zone_site, "lab", temp)
    page = await open_zone(desk, zone_site, "device_id=lab&last=60")

    await expect(page.locator("#temperature")).to_have_text("21.1\N{NO-BREAK SPACE}°C")
    await expect(page.locator("#figures")).to_contain_text("3, 0 with a fault")
    await expect(page.locator("#chart-empty")).to_be_hidden()
    await post_reading(zone_site, "lab", 222)
    await expect(page.locator("#temperature")).to_have_text("22.2\N{NO-BREAK SPACE}°C")

    # A fault is said in words, and the table has what the chart shows.
    await post_reading(zone_site, "lab", 222, sensor_ok=False)
    await expect(page.locator("#zone-state")).to_have_text("Sensor fault")
    await page.get_by_text("The values as a table").click()
    await expect(page.locator("#table tbody tr")).to_have_count(24)
    await expect(page.locator("#table tbody tr").last).to_contain_text("22.2")
    assert f"{zone_site}/api/telemetry/export.csv?device_id=lab" in await page.evaluate(
        "document.getElementById('csv').href"
    )


async def test_keys_buttons_and_the_pointer_choose_the_span(desk: Desk, zone_site: str) -> None:
    await post_reading(zone_site, "span", 215)
    page = await open_zone(desk, zone_site, "device_id=span")
    series = "**/api/telemetry/series?**"

    async with page.expect_request(series) as week:
        await page.keyboard.press("4")
    assert asked_span(await week.value) == 7 * 86_400_000
    await expect(page.locator("#span-words")).to_have_text("The last 7 days")
    await expect(page.get_by_role("button", name="7 days")).to_have_attribute(
        "aria-pressed", "true"
    )

    await page.locator(".u-over").scroll_into_view_if_needed()
    area = await page.locator(".u-over").bounding_box()
    assert area is not None
    async with page.expect_request(series) as marked:
        await page.mouse.move(area["x"] + area["width"] * 0.2, area["y"] + 60)
        await page.mouse.down()
        await page.mouse.move(area["x"] + area["width"] * 0.3, area["y"] + 80, steps=4)
        await page.mouse.up()
    assert 0.08 < asked_span(await marked.value) / (7 * 86_400_000) < 0.12
    await expect(page.locator("#chart-empty")).to_have_text(NO_READING)

    async with page.expect_request(series) as earlier:
        await page.locator("#chart").press("ArrowLeft")
    assert asked_span(await earlier.value) == asked_span(await marked.value)
    # The address has the span: the page opens with it again.
    words = await page.locator("#span-words").inner_text()
    await expect(page).to_have_url(re.compile("start="))
    await page.reload()
    await expect(page.locator("#span-words")).to_have_text(words)


async def test_an_admin_sets_renames_and_reads_who_did_so(desk: Desk, zone_site: str) -> None:
    await post_reading(zone_site, "a/b c", 215)
    await post_reading(zone_site, "hall", 225)
    page = await open_zone(desk, zone_site, "device_id=a%2Fb%20c")

    await page.get_by_label("New setpoint").fill("21.5")
    await page.get_by_role("button", name="Apply").click()
    await expect(page.locator("#fact-setpoint")).to_have_text("21.5\N{NO-BREAK SPACE}°C")
    await expect(page.locator("#audit")).to_contain_text("changed the setpoint")

    await page.get_by_role("button", name="Name and alarms").click()
    await page.get_by_label("Name").fill("Meeting room")
    await page.get_by_label("Location").fill("First floor")
    await page.get_by_label("Alarm above").fill("warm")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_label("Alarm above")).to_be_focused()
    await page.get_by_label("Alarm above").fill("8")
    await page.get_by_label("Alarm below").fill("-2,5")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#zone-name")).to_have_text("Meeting room")
    await expect(page.locator("#zone-where")).to_have_text("First floor · device a/b c")
    await expect(page.locator("#fact-limits")).to_have_text(
        re.compile("below \N{MINUS SIGN}2.5.°C, above 8.0.°C")
    )
    await expect(page.get_by_role("button", name="Name and alarms")).to_be_focused()

    await page.get_by_label("Compare with").select_option(label="hall")
    await expect(page.locator("#key-other")).to_have_text("hall")
    await expect(page).to_have_url(re.compile("with=hall"))


async def test_a_guest_on_a_phone_sees_all_and_may_change_nothing(
    desk: Desk, zone_site: str
) -> None:
    await post_reading(zone_site, "lab", 215)
    page = await desk.logged_in(zone_site, "guest", viewport={"width": 360, "height": 740})
    await page.goto(f"{zone_site}/zone?device_id=lab")
    await expect(page.locator(".uplot")).to_be_visible()
    await expect(page.get_by_label("New setpoint")).to_be_hidden()
    await expect(page.get_by_role("button", name="Name and alarms")).to_be_hidden()
    await expect(page.locator("#audit-title")).to_be_hidden()
    assert await overflow(page) == 0

    await page.goto(f"{zone_site}/zone?device_id=nowhere")
    await expect(page.locator("#unknown")).to_have_text("This zone has not reported yet.")
    await expect(page.locator("#chart-empty")).to_have_text(NO_READING)
