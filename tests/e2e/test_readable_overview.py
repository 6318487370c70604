"""The words of the overview are readable: in its table, and on its cards, which have one height."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.e2e.desk import Desk, card
from tests.e2e.looks import violations
from tests.e2e.written_stream import begin, send_snapshot
from tests.e2e.zone_events import NOW, reading

pytestmark = pytest.mark.asyncio(loop_scope="session")

WIDE_LETTERS = "document.documentElement.style.setProperty('--font', '\"DejaVu Sans\"')"
# The headings and the states that are wider than their cells. What follows a state in a full cell
# is cut with three dots, which need room too.
CUT = """() => [...document.querySelectorAll(".zone-table :is(thead th, .state)")]
  .filter((one) => one.checkVisibility()).filter((one) => {
    const cell = one.closest("td, th");
    const isFull = cell.scrollWidth > cell.clientWidth;
    if (one === cell) return isFull;
    const { paddingRight } = getComputedStyle(cell);
    const end = cell.getBoundingClientRect().right - parseFloat(paddingRight);
    return one.getBoundingClientRect().right + (isFull ? 16 : 0) > end;
  }).map((one) => one.textContent)"""
# How many pixels of a warning are out of sight, and whether the end of its card is in the card.
HIDDEN_PX = """(warning) => [warning, warning.querySelector(".why")].reduce(
  (sum, one) => sum + one.scrollHeight - one.clientHeight, 0)"""
FOOT_IS_INSIDE = """(zone) => zone.querySelector(".zone-foot").getBoundingClientRect().bottom
  < zone.getBoundingClientRect().bottom"""


def zone_of(number: int, state: str, reason: str | None) -> dict[str, Any]:
    trust = {"state": state, "since": NOW, "reason": reason}
    known = {"trust": trust, "received": NOW, "age_ms": 0, "device_id": f"zone {number}"}
    return reading(NOW, 215, **known)


async def long_list(desk: Desk, site: str, *, width: int) -> Page:
    """An overview of 70 zones in wide letters, three of them with a problem."""
    page = await desk.window(viewport={"width": width, "height": 900})
    await begin(page, site, reading(NOW, 200))
    await page.evaluate(WIDE_LETTERS)
    failed = {"state": "FAULT", "heat_active": False, "sensor_ok": False, "temp_tenths": None}
    zones = [zone_of(number, "ok", None) for number in range(3, 70)]
    zones.append(zone_of(0, "fault", "out_of_range") | failed)
    zones.append(zone_of(1, "suspect", "two_sources"))
    zones.append(zone_of(2, "refused", "DEVICE_KEY_REQUIRED"))
    await send_snapshot(page, *zones)
    await expect(page.locator("#list")).to_have_attribute("data-virtual", "true")
    return page


@pytest.mark.parametrize("width", [360, 740, 940, 1280, 1400])
async def test_states_and_headings_of_the_table_are_whole_in_wide_letters(
    desk: Desk, site: str, width: int
) -> None:
    page = await long_list(desk, site, width=width)
    await page.get_by_role("button", name="Table").click()
    row = page.get_by_role("row").filter(has_text="zone 0")
    await expect(row.locator(".state")).to_have_text("Sensor fault")

    assert await page.evaluate(CUT) == []


async def test_a_warning_on_a_card_of_a_long_list_is_read_with_the_keyboard(
    desk: Desk, site: str
) -> None:
    page = await long_list(desk, site, width=1280)
    await page.get_by_role("button", name="Cards").click()
    fault = card(page, "zone 0").locator(".warning")
    await expect(fault).to_contain_text("Both relays are off.")
    assert await fault.evaluate(HIDDEN_PX) == 0

    # The narrowest card, where the longest warning is higher than what is free.
    await page.set_viewport_size({"width": 320, "height": 900})
    zone = card(page, "zone 1")
    warning = zone.locator(".warning")
    await zone.get_by_role("link").focus()
    await page.keyboard.press("Tab")
    await expect(warning).to_be_focused()
    assert await warning.evaluate(HIDDEN_PX) > 0
    await page.keyboard.press("End")
    await expect_end(page, warning)
    assert await zone.evaluate(FOOT_IS_INSIDE)
    heights = await page.locator(".cards .zone").evaluate_all(
        "(zones) => [...new Set(zones.map((zone) => zone.offsetHeight))]"
    )
    assert len(heights) == 1
    assert await violations(page) == []


async def expect_end(page: Page, warning: Any) -> None:
    """Wait until the last line of a warning is in sight."""
    await page.wait_for_function(
        "(one) => one.scrollTop + one.clientHeight >= one.scrollHeight - 1",
        arg=await warning.element_handle(),
    )
