"""The dashboard shows the zones of a real server."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.e2e.desk import SOON_MS, Desk, card, is_live, log_in, post_reading
from tests.e2e.looks import WEAKEST_CONTRAST, overflow

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_reading_appears_on_the_page_within_a_second(desk: Desk, site: str) -> None:
    page = await desk.logged_in(site, "reader")

    await post_reading(site, "office", 215)

    zone = card(page, "office")
    await expect(zone.locator(".temperature")).to_have_text("21.5 °C", timeout=SOON_MS)
    await expect(zone.locator(".state")).to_have_text("Idle")
    await expect(zone.locator(".setpoint")).to_have_text("23.0 °C")
    await expect(zone.locator(".deadband")).to_have_text("1.0 °C")
    await expect(zone.locator(".cooler")).to_have_text("Off")
    await expect(zone.locator(".heat")).to_have_text("On")
    await expect(zone.locator(".age")).to_have_text(re.compile(r"^Last reading \d+ s ago$"))


async def test_a_page_shows_a_zone_that_posted_before_the_page_was_opened(
    desk: Desk, site: str
) -> None:
    await post_reading(site, "cold store", -5)

    page = await desk.logged_in(site, "reader")

    await expect(card(page, "cold store").locator(".temperature")).to_have_text(
        "\N{MINUS SIGN}0.5 °C"
    )


async def test_names_come_although_the_server_refused_them_at_first(desk: Desk, site: str) -> None:
    desk.expect_complaint(r"status of 503 .*/api/zones\?limit=\d+$")
    await post_reading(site, "vault", 120)
    other = await desk.logged_in(site, "operator")
    url = f"{site}/api/zones/vault"
    assert (await other.request.patch(url, data={"name": "Wine vault"})).ok
    page = await desk.window()
    await page.route("**/api/zones?*", lambda route: route.fulfill(status=503, body="{}"), times=1)

    await page.goto(site)
    await log_in(page, "reader")

    await expect(card(page, "Wine vault")).to_be_visible()


async def test_cooling_is_shown_in_words(desk: Desk, site: str) -> None:
    page = await desk.logged_in(site, "reader")

    await post_reading(site, "server room", 300)

    zone = card(page, "server room")
    await expect(zone.locator(".state")).to_have_text("Cooling")
    await expect(zone.locator(".cooler")).to_have_text("On")
    await expect(page.locator("#summary")).to_contain_text("cooling")


async def test_a_sensor_fault_is_shown_and_announced(desk: Desk, site: str) -> None:
    page = await desk.logged_in(site, "reader")
    await post_reading(site, "attic", 220)
    zone = card(page, "attic")
    await expect(zone.locator(".state")).to_have_text("Idle")
    await expect(zone.locator(".warning")).to_be_hidden()

    await post_reading(site, "attic", 0, sensor_ok=False)

    await expect(zone.locator(".state")).to_have_text("Sensor fault")
    await expect(zone.locator(".warning")).to_contain_text("temperature is not reliable")
    await expect(page.locator("#announcer")).to_contain_text("attic: sensor fault.")


async def test_the_age_of_a_reading_grows_but_only_the_server_makes_the_zone_stale(
    desk: Desk, site: str
) -> None:
    page = await desk.window()
    await page.clock.install()
    await page.goto(site)
    await log_in(page, "reader")
    await is_live(page)
    await post_reading(site, "cellar", 180)
    zone = card(page, "cellar")
    await expect(zone.locator(".age")).to_have_text("Last reading 0 s ago")

    await page.clock.fast_forward(12_000)

    await expect(zone.locator(".age")).to_contain_text("Last reading 12 s ago")
    await expect(zone.locator(".state")).not_to_have_text("Stale")
    await expect(page.locator("#connection")).to_have_text("Live")


async def test_zones_are_sorted_by_name_and_by_the_numbers_in_it(desk: Desk, site: str) -> None:
    page = await desk.logged_in(site, "reader")

    for name in ("floor 10", "floor 2", "floor 1"):
        await post_reading(site, name, 220)

    names = page.locator(".zone .name").filter(has_text="floor")
    await expect(names).to_have_text(["floor 1", "floor 2", "floor 10"])


@pytest.mark.parametrize("path", ["/", "/auth/login"])
async def test_the_page_is_not_wider_than_a_small_phone(desk: Desk, site: str, path: str) -> None:
    await post_reading(site, "W" * 128, 1234)
    page = await desk.logged_in(site, "operator", viewport={"width": 360, "height": 640})
    await page.goto(site + path)
    if path == "/":
        await expect(card(page, "W" * 128)).to_be_visible()

    assert await overflow(page) <= 0


async def test_text_has_enough_contrast_in_light_and_dark_mode(desk: Desk, site: str) -> None:
    await post_reading(site, "contrast", 220)
    await post_reading(site, "contrast fault", 0, sensor_ok=False)
    for scheme in ("light", "dark"):
        page = await desk.logged_in(site, "operator", color_scheme=scheme)
        await expect(card(page, "contrast")).to_be_visible()
        assert await page.evaluate(WEAKEST_CONTRAST) >= 4.5, scheme
