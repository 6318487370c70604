"""Users change the setpoint and the deadband in the browser and see each other's changes."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.e2e.desk import SOON_MS, Desk, card, post_reading

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def change(page: Page, zone: str, setpoint: str = "", deadband: str = "") -> None:
    """Open the form of a zone, or of all zones, fill it in and send it."""
    name = "Change all zones" if zone == "" else f"Change setpoint of {zone}"
    await page.get_by_role("button", name=name, exact=True).click()
    await page.get_by_label("Setpoint in °C").fill(setpoint)
    await page.get_by_label("Deadband in °C").fill(deadband)
    await page.get_by_role("button", name="Apply").click()


async def test_every_page_shows_a_change_within_a_second(desk: Desk, site: str) -> None:
    await post_reading(site, "lab", 220)
    first = await desk.logged_in(site, "operator")
    second = await desk.logged_in(site, "second")
    await expect(card(second, "lab").locator(".setpoint")).not_to_have_text("19.3 °C")

    await change(first, "lab", setpoint="19.3", deadband="0,7")

    await expect(card(second, "lab").locator(".setpoint")).to_have_text("19.3 °C", timeout=SOON_MS)
    await expect(card(second, "lab").locator(".deadband")).to_have_text("0.7 °C", timeout=SOON_MS)
    await expect(card(second, "lab").locator(".changed")).to_contain_text("Set by operator")
    await expect(first.locator("#toast-text")).to_have_text(
        "Done: lab, setpoint 19.3 °C, deadband 0.7 °C."
    )


async def test_an_empty_field_keeps_its_value(desk: Desk, site: str) -> None:
    await post_reading(site, "kitchen", 220)
    page = await desk.logged_in(site, "operator")
    await change(page, "kitchen", setpoint="20.0", deadband="1.5")
    zone = card(page, "kitchen")
    await expect(zone.locator(".deadband")).to_have_text("1.5 °C")

    await change(page, "kitchen", setpoint="21")

    await expect(zone.locator(".setpoint")).to_have_text("21.0 °C")
    await expect(zone.locator(".deadband")).to_have_text("1.5 °C")


async def test_a_change_of_all_zones_is_asked_for_and_taken_back(desk: Desk, site: str) -> None:
    await post_reading(site, "east", 220)
    await post_reading(site, "west", 220)
    page = await desk.logged_in(site, "operator")
    east, west = (card(page, name).locator(".setpoint") for name in ("east", "west"))
    await expect(west).to_be_visible()
    await change(page, "east", setpoint="21.1")
    await expect(east).to_have_text("21.1 °C")
    before = await west.inner_text()

    await change(page, "", setpoint="24.4")

    message = page.locator("#change-message")
    await expect(message).to_contain_text(re.compile(r"This changes all \d+ zones"))
    await expect(east).to_have_text("21.1 °C")
    await page.get_by_role("button", name=re.compile(r"^Change \d+ zones$")).click()
    for setpoint in (east, west):
        await expect(setpoint).to_have_text("24.4 °C")
    await page.get_by_role("button", name="Undo").click()
    await expect(east).to_have_text("21.1 °C")
    await expect(west).to_have_text(before)
    await expect(page.locator("#toast-text")).to_have_text("As before.")


async def test_the_form_says_what_the_cooler_will_do(desk: Desk, site: str) -> None:
    await post_reading(site, "shed", 222)
    page = await desk.logged_in(site, "operator")
    await page.get_by_role("button", name="Change setpoint of shed").click()

    await page.get_by_label("Setpoint in °C").fill("20")
    await page.get_by_label("Deadband in °C").fill("1.0")  # another test may have set all zones
    await page.get_by_role("button", name="Deadband larger").click()

    await expect(page.locator("#change-preview")).to_have_text(
        "The cooler runs above 21.1 °C. At 22.2 °C it goes on."
    )


async def test_the_button_of_a_zone_opens_the_form_for_that_zone(desk: Desk, site: str) -> None:
    await post_reading(site, "hall", 220)
    page = await desk.logged_in(site, "operator")
    setpoint = page.get_by_label("Setpoint in °C")

    await page.get_by_role("button", name="Change setpoint of hall").click()
    await expect(setpoint).to_be_focused()
    await page.keyboard.type("22.2")
    await page.keyboard.press("Enter")

    await expect(card(page, "hall").locator(".setpoint")).to_have_text("22.2 °C")


REFUSED = (
    ("40.1", "", "The setpoint must be from 10.0 to 40.0 °C."),
    ("-5", "", "The setpoint must be from 10.0 to 40.0 °C."),
    ("22", "5.1", "The deadband must be from 0.0 to 5.0 °C."),
)


async def without_message(page: Page) -> None:
    """Empty the form's message, so that what it shows next is new."""
    await page.evaluate("document.getElementById('change-message').textContent = ''")


async def test_a_value_that_the_server_refuses_shows_the_reason_and_changes_nothing(
    desk: Desk, site: str
) -> None:
    desk.expect_complaint(r"status of 400 .*/api/set_setpoint$")
    await post_reading(site, "bath", 220)
    page = await desk.logged_in(site, "operator")
    before = await card(page, "bath").locator("dl").inner_text()

    for setpoint, deadband, answer in REFUSED:
        await without_message(page)
        await change(page, "bath", setpoint=setpoint, deadband=deadband)

        await expect(page.locator("#change-message")).to_have_text(answer)
        assert await card(page, "bath").locator("dl").inner_text() == before
        await page.keyboard.press("Escape")


async def test_the_form_does_not_send_a_text_that_is_not_a_temperature(
    desk: Desk, site: str
) -> None:
    page = await desk.logged_in(site, "operator")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))

    await post_reading(site, "porch", 220)
    for text in ("22.55", "warm", "1e1", "2 2", "0x10"):
        await without_message(page)
        await change(page, "porch", setpoint=text)

        await expect(page.locator("#change-message")).to_contain_text("such as 23.5")
        await expect(page.get_by_label("Setpoint in °C")).to_be_focused()
        await page.keyboard.press("Escape")
    assert [url for url in sent if url.endswith("/api/set_setpoint")] == []


async def test_a_read_only_user_sees_no_form(desk: Desk, site: str) -> None:
    await post_reading(site, "library", 220)

    page = await desk.logged_in(site, "reader")

    await expect(page.locator("#who")).to_have_text("reader (read-only)")
    await expect(card(page, "library")).to_be_visible()
    await expect(page.get_by_label("Setpoint in °C")).to_be_hidden()
    await expect(page.get_by_role("button", name="Apply")).to_be_hidden()
    await expect(page.get_by_role("button", name="Change setpoint of library")).to_be_hidden()
    await expect(page.get_by_role("button", name="Change all zones")).to_be_hidden()
