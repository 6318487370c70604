"""The texts on a zone's card, on a whole page whose stream the test writes."""

from __future__ import annotations

import re

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.e2e.desk import Desk, card
from tests.e2e.looks import WEAKEST_CONTRAST, overflow
from tests.e2e.written_stream import begin, send
from tests.e2e.zone_events import COOLING, HOUR_MS, LATE, NOW, reading, zone_event

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAULT = {"sensor_ok": False, "state": "FAULT", "heat_active": False}
NO_VALUE = "\N{EN DASH}"


@pytest_asyncio.fixture(loop_scope="session")
async def page(desk: Desk, site: str) -> Page:
    """A dashboard with one zone, `office`, at 20.0 °C; its server sends no trust states."""
    page = await desk.window()
    await begin(page, site, reading(NOW, 200, received=NOW, age_ms=0))
    return page


@pytest.mark.parametrize(
    ("reason", "state", "words"),
    [
        (None, "Sensor fault", "the device cannot read its sensor"),
        ("no_value", "Sensor fault", "sends no temperature, its sensor may be unplugged"),
        ("out_of_range", "Sensor fault", "outside \N{MINUS SIGN}55.0 to 125.0 °C"),
        ("unreadable", "Device fault", "its message could not be read"),
    ],
)
async def test_a_card_names_the_cause_of_a_fault_without_a_temperature(
    page: Page, reason: str | None, state: str, words: str
) -> None:
    why = {"fault_reason": reason} if reason else {}

    await send(page, "telemetry", reading(NOW + 1, None, **FAULT, **why))

    office = card(page, "office")
    await expect(office.locator(".temperature")).to_have_text(NO_VALUE)
    await expect(office.locator(".temperature")).to_have_css("text-decoration-line", "none")
    await expect(office.locator(".state")).to_have_text(state)
    await expect(office.locator(".warning")).to_contain_text(words)
    await expect(office.locator(".warning")).to_contain_text("Both relays are off.")
    await expect(page.locator("#announcer")).to_contain_text(f"office: {state.lower()}.")
    await expect(page.locator("#summary")).to_contain_text("1 with a fault")


async def test_the_limits_in_a_warning_are_in_the_persons_unit(page: Page) -> None:
    why = card(page, "office").locator(".why")
    await send(page, "telemetry", reading(NOW + 1, None, **FAULT, fault_reason="out_of_range"))
    await expect(why).to_contain_text("to 125.0 °C")

    await page.get_by_label("Temperatures").select_option("F")

    await expect(why).to_contain_text("outside \N{MINUS SIGN}67.0 to 257.0 °F")


async def test_a_temperature_from_a_failed_sensor_is_struck_through(page: Page) -> None:
    await send(page, "telemetry", reading(NOW + 1, 0, **FAULT))

    temperature = card(page, "office").locator(".temperature")
    await expect(temperature).to_have_text("0.0 °C")
    await expect(temperature).to_have_css("text-decoration-line", "line-through")


async def test_a_warning_names_the_zones_safe_state_when_a_relay_stays_on(page: Page) -> None:
    await send(page, "telemetry", reading(NOW + 1, None, **FAULT | {"heat_active": True}))

    office = card(page, "office")
    await expect(office.locator(".heat")).to_have_text("On")
    await expect(office.locator(".warning")).to_contain_text("in the zone's safe state")
    await expect(office.locator(".warning")).not_to_contain_text("off")


async def test_a_zone_event_without_a_reading_updates_the_relays_at_once(page: Page) -> None:
    await send(page, "telemetry", reading(NOW - 60_000, 300, **COOLING))
    office = card(page, "office")
    await expect(office.locator(".state")).to_have_text("Stale")

    await send(page, "zone", zone_event(NOW + 1))

    await expect(office.locator(".cooler")).to_have_text("Off")
    await expect(office.locator(".heat")).to_have_text("Off")
    await expect(office.locator(".state")).to_have_text("Idle")
    await expect(office.locator(".temperature")).to_have_text("30.0 °C")
    await expect(office.locator(".age")).to_contain_text("Last reading 6")
    await expect(office.locator(".why")).to_have_text(
        "No new readings are stored: the temperature is old."
    )


async def test_a_zone_that_was_created_by_a_zone_event_has_no_values_yet(page: Page) -> None:
    fault = {"state": "fault", "since": NOW, "reason": "no_value"}
    await send(page, "zone", zone_event(NOW + 1, device_id="attic", state="FAULT", trust=fault))

    attic = card(page, "attic")
    await expect(attic.locator(".state")).to_have_text("Sensor fault")
    await expect(attic.locator(".warning")).to_contain_text("may be unplugged")
    await expect(attic.locator(".temperature")).to_have_text(NO_VALUE)
    await expect(attic.locator(".setpoint")).to_have_text(NO_VALUE)
    await expect(attic.locator(".age")).to_have_text("")
    form = page.get_by_label("Setpoint in °C")
    await page.get_by_role("button", name="Change setpoint of office").click()
    await expect(form).to_have_attribute("placeholder", "23.0")
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Change setpoint of attic").click()
    await expect(form).to_have_attribute("placeholder", "")


async def test_relays_in_an_unknown_state_are_shown_as_not_confirmed(page: Page) -> None:
    await send(page, "zone", zone_event(NOW + 1, relays_known=False, **COOLING))

    await expect(card(page, "office").locator(".cooler")).to_have_text("On, not confirmed")


async def test_a_card_explains_late_dates_and_does_not_call_the_zone_silent(page: Page) -> None:
    await send(page, "telemetry", reading(NOW - 60_000, 200))

    await send(page, "zone", zone_event(NOW + 1, trust=LATE))

    office = card(page, "office")
    await expect(office.locator(".state")).to_have_text("Late dates")
    await expect(office.locator(".why")).to_have_text(
        "The device's dates are late: its readings are kept but do not control. "
        "These values are old."
    )
    await expect(office.locator(".age")).to_contain_text("Last timely reading 6")
    await expect(page.locator("#announcer")).to_contain_text("office: the device's dates are late.")
    await expect(page.locator("#summary")).to_have_text("1 zone · 0 cooling · 1 with late dates")


async def test_a_reading_of_a_backlog_changes_no_card(page: Page) -> None:
    before = await card(page, "office").locator("dl, .temperature, .state").all_inner_texts()

    await send(
        page,
        "telemetry",
        reading(NOW - HOUR_MS, 300, received=NOW + 1, present=False, **COOLING),
    )
    await send(page, "telemetry", reading(NOW, 210, device_id="after it"))

    await expect(card(page, "after it")).to_be_visible()
    texts = await card(page, "office").locator("dl, .temperature, .state").all_inner_texts()
    assert texts == before


async def test_a_device_whose_clock_is_five_hours_behind_is_not_stale(page: Page) -> None:
    await send(page, "telemetry", reading(NOW - 5 * HOUR_MS, 210, received=NOW + 1))

    office = card(page, "office")
    await expect(office.locator(".temperature")).to_have_text("21.0 °C")
    await expect(office.locator(".state")).to_have_text("Idle")
    await expect(office.locator(".age")).to_contain_text(re.compile(r"^Last reading \d+ s ago$"))


async def test_a_zone_with_an_old_reading_is_stale_until_the_next_reading(page: Page) -> None:
    office = card(page, "office")
    await send(page, "telemetry", reading(NOW + 1, 210, received=NOW - 330_000))
    await expect(office.locator(".age")).to_have_text("Last reading 5 min ago")
    await expect(office.locator(".state")).to_have_text("Stale")
    await expect(office.locator(".why")).to_have_text("No new readings: these values are old.")

    await send(page, "telemetry", reading(NOW + 2, 211))

    await expect(office.locator(".state")).to_have_text("Idle")
    await expect(office.locator(".warning")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_warnings_have_enough_contrast_and_fit_a_small_phone(
    desk: Desk, site: str, scheme: str
) -> None:
    page = await desk.window(color_scheme=scheme, viewport={"width": 320, "height": 640})
    unknown = {"relays_known": False, "trust": LATE}

    await begin(
        page,
        site,
        reading(NOW, None, device_id="no value", **FAULT, fault_reason="no_value", age_ms=0),
        reading(NOW, None, device_id="silent", **FAULT, fault_reason="unreadable", age_ms=60_000),
        reading(NOW, 200, device_id="late", **COOLING, **unknown, age_ms=0),
    )

    await expect(page.locator(".warning:visible")).to_have_count(3)
    assert await page.evaluate(WEAKEST_CONTRAST) >= 4.5
    assert await overflow(page) <= 0
