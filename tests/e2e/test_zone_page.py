"""The page of one zone: its chart from history and stream, its figures, its names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, Page, Request, Route, expect

from tests.conftest import PASSWORD
from tests.e2e.desk import Desk, is_live, post_reading
from tests.e2e.looks import overflow
from tools.process import ServerProcess, run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")

DAY_MS = 86_400_000
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
    await expect(page.locator("#unknown-words")).to_contain_text("Nothing is known of this zone")
    await expect(page.locator("#chart-empty")).to_have_text(NO_READING)


async def test_figures_of_a_span_are_never_shown_for_another_span(
    desk: Desk, zone_site: str
) -> None:
    desk.expect_complaint(r"status of 503 .*/api/telemetry/")
    await post_reading(zone_site, "loft", 215)
    page = await open_zone(desk, zone_site, "device_id=loft&last=60")
    figures = page.locator("#figures")
    await expect(figures).to_contain_text("Mean")
    await page.get_by_text("The values as a table").click()
    await expect(page.locator("#table tbody tr")).to_have_count(24)

    async def refuse(route: Route) -> None:
        await route.fulfill(status=503, body="{}")

    # The server says nothing about the span, with or without its chart.
    await page.route("**/api/telemetry/statistics?*", refuse)
    await page.get_by_role("button", name="7 days").click()
    await expect(figures).to_have_text(re.compile("could not be loaded"))
    await page.route("**/api/telemetry/series?*", refuse)
    await page.get_by_role("button", name="30 days").click()
    await expect(page.locator("#table")).to_have_text("The values could not be loaded.")
    await expect(figures).to_have_text(re.compile("could not be loaded"))
    file = parse_qs(urlsplit(await page.locator("#csv").get_attribute("href")).query)
    assert int(file["end"][0]) - int(file["start"][0]) == 30 * DAY_MS
    await page.unroute_all()

    # An answer that comes after another span was chosen is not shown.
    late: list[Route] = []

    async def delay(route: Route) -> None:
        if asked_span(route.request) > DAY_MS:
            late.append(route)
        else:
            await route.continue_()

    await page.route("**/api/telemetry/statistics?*", delay)
    async with page.expect_request("**/api/telemetry/statistics?*"):
        await page.get_by_role("button", name="90 days").click()
    await page.get_by_role("button", name="1 hour").click()
    await expect(figures).to_contain_text("1, 0 with a fault")
    assert late
    for route in late:
        found = await (await route.fetch()).json()
        async with page.expect_response("**/api/telemetry/statistics?*") as answer:
            await route.fulfill(json={**found, "total_records": 77})
        await (await answer.value).finished()
    await page.evaluate("fetch('/api/health').then((answer) => answer.text())")
    assert "1, 0 with a fault" in await figures.inner_text()


async def test_a_zone_that_is_deleted_while_its_page_is_open_is_said_to_be_gone(
    desk: Desk, zone_site: str
) -> None:
    await post_reading(zone_site, "shed", 215)
    page = await open_zone(desk, zone_site, "device_id=shed")
    await expect(page.locator("#zone-state")).to_have_text("Idle")
    answer = await page.request.delete(f"{zone_site}/api/zones/shed")
    assert answer.ok, await answer.text()
    await expect(page.locator("#unknown-words")).to_have_text("This zone was deleted.")
    await expect(page.locator("#zone-state")).to_have_text("")
    await expect(page.locator("#now")).to_be_hidden()
    await page.reload()
    await expect(page.locator("#unknown-words")).to_have_text(
        "Nothing is known of this zone: it was deleted, or it never reported."
    )
    overview = page.locator("#unknown").get_by_role("link", name="All zones")
    await expect(overview).to_have_attribute("href", "/")
    await is_live(page)
    await post_reading(zone_site, "shed", 215)
    await expect(page.locator("#unknown")).to_be_hidden()
    await expect(page.locator("#zone-state")).to_have_text("Idle")


async def test_a_registered_device_that_never_reported_is_not_said_to_be_gone(
    desk: Desk, zone_site: str
) -> None:
    page = await desk.logged_in(zone_site, "boss")
    sent = {"device_id": "cellar", "overlap": False}
    answer = await page.request.post(f"{zone_site}/api/devices/key", data=sent)
    assert answer.ok, await answer.text()
    await page.goto(f"{zone_site}/zone?device_id=cellar")
    await expect(page.locator("#unknown-words")).to_have_text("This zone has not reported yet.")


async def test_an_address_without_a_zone_says_so_and_asks_for_no_history(
    desk: Desk, zone_site: str
) -> None:
    page = await desk.logged_in(zone_site, "boss")
    await page.goto(f"{zone_site}/zone")
    await is_live(page)
    await expect(page.locator("#unknown-words")).to_have_text("The address names no zone.")
    await page.get_by_role("button", name="1 hour").click()
    await expect(page.locator("#chart-message")).to_have_text("Choose a zone on the overview.")


async def test_refused_values_are_explained_in_the_persons_unit(desk: Desk, zone_site: str) -> None:
    desk.expect_complaint(r"status of 400 .*/api/set_setpoint$")
    await post_reading(zone_site, "lab", 215)
    page = await desk.window()
    await page.add_init_script("localStorage.setItem('bas.units', 'F')")
    sent = {"username": "boss", "password": PASSWORD}
    assert (await page.request.post(f"{zone_site}/auth/login", data=sent)).ok
    await page.goto(f"{zone_site}/zone?device_id=lab")
    await is_live(page)
    message = page.locator("#setpoint-message")
    await page.get_by_label("New setpoint").fill("200")
    await page.get_by_role("button", name="Apply").click()
    await expect(message).to_have_text("The setpoint must be from 50.0 to 104.0 °F.")
    await page.get_by_label("New setpoint").fill("")
    await page.get_by_label("New deadband").fill("50")
    await page.get_by_role("button", name="Apply").click()
    await expect(message).to_have_text("The deadband must be from 0.0 to 9.0 °F.")

    await page.get_by_role("button", name="Name and alarms").click()
    names = page.locator("#names-message")
    await page.get_by_label("Alarm above").fill("900")
    await page.get_by_role("button", name="Save").click()
    await expect(names).to_have_text(re.compile("from \N{MINUS SIGN}67.0.°F to 257.0.°F"))
    await page.get_by_label("Alarm above").fill("50")
    await page.get_by_label("Alarm below").fill("60")
    await page.get_by_role("button", name="Save").click()
    await expect(names).to_contain_text("must be less than")


async def test_the_menu_with_all_its_entries_fits_a_small_phone(desk: Desk, zone_site: str) -> None:
    await post_reading(zone_site, "lab", 215)
    page = await desk.logged_in(zone_site, "boss", viewport={"width": 360, "height": 740})
    await page.goto(f"{zone_site}/zone?device_id=lab")
    await is_live(page)
    await expect(page.get_by_role("link", name="Admin")).to_be_visible()
    await page.evaluate(
        "(count) => { count.textContent = '1000+'; count.hidden = false; }",
        await page.query_selector("#alarm-count"),
    )
    assert await overflow(page) == 0
