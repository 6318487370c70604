"""The overview of a large site, and the one stream of all tabs, with a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.conftest import PASSWORD
from tests.e2e.desk import (
    Desk,
    card,
    go_back,
    is_live,
    no_stream_is_open,
    one_stream_is_open,
    open_streams,
    post_reading,
)
from tests.e2e.looks import violations
from tools.process import ServerProcess, run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")

ZONES = 1000
FAULTY = {f"zone {number}" for number in range(7, ZONES, 111)}
TABS = 10
WALKS = 8
NODES_MAX = 4000

# Of each row in the table: its device, and those that its name, its link and its button are of.
ROWS = """() => [...document.querySelectorAll("#zone-rows .zone")].map((row) => [
  row.dataset.device,
  row.querySelector(".link").textContent,
  new URL(row.querySelector(".link").href).searchParams.get("device_id"),
  row.querySelector(".edit").getAttribute("aria-label").replace("Change setpoint of ", ""),
])"""
ROWS_ARE_IN_SIGHT = """() => [300, 500].every(
  (y) => document.elementFromPoint(400, y)?.closest("#zone-rows .zone"))"""
LINES_ARE_DRAWN = """() => [...document.querySelectorAll("#zone-rows canvas:not([hidden])")].every(
  (canvas) => canvas.width > 0 && canvas.getContext("2d")
    .getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean))
  && document.querySelectorAll("#zone-rows canvas:not([hidden])").length > 5"""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a thousand zones, nine of them with a fault, and an operator."""
    folder = tmp_path_factory.mktemp("plant")
    arguments = ("create-user", "operator", "--role", "operator", "--password-stdin")
    assert run_command(*arguments, data_dir=folder, stdin=PASSWORD).returncode == 0
    settings = {"BAS_NEW_ZONES_PER_HOUR": "20000", "BAS_MAX_CONCURRENT_SESSIONS": "100"}
    with ServerProcess(folder, **settings) as server:
        names = [f"zone {number}" for number in range(ZONES)]
        for first in range(0, ZONES, 500):
            rows = [
                {"device_id": name, "temp_tenths": 221, "sensor_ok": name not in FAULTY}
                for name in names[first : first + 500]
            ]
            answer = httpx.post(f"{server.url}/api/sensor_data/batch", json=rows, timeout=60)
            assert answer.status_code == 200, answer.text
        yield server
        server.terminate()


async def nodes(page: Page) -> int:
    count: int = await page.evaluate("document.querySelectorAll('*').length")
    return count


async def test_of_a_thousand_zones_the_problems_are_in_sight_and_the_others_are_found(
    desk: Desk, plant: ServerProcess
) -> None:
    page = await desk.logged_in(plant.url, "operator")
    names = page.locator(".zone .name")
    await expect(page.locator("#site")).to_contain_text("need attention")
    await expect(page.get_by_role("table")).to_be_visible()
    top = await names.all_inner_texts()
    assert set(top[: len(FAULTY)]) >= FAULTY
    assert await nodes(page) < NODES_MAX

    await page.keyboard.press("v")
    await expect(page.locator("ul .zone").first).to_be_visible()
    assert await nodes(page) < NODES_MAX
    await page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    await expect(card(page, f"zone {ZONES - 1}")).to_be_visible()
    assert await nodes(page) < NODES_MAX

    await page.keyboard.press("/")
    await page.keyboard.type("770 zone")
    await expect(names).to_have_text(["zone 770"])
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name=f"{len(FAULTY)} with a fault").click()
    await expect(names).to_have_count(len(FAULTY))

    await page.reload()
    await is_live(page)
    await expect(page.locator("ul .zone").first).to_be_visible()  # the choice is remembered


async def test_rows_are_in_sight_wherever_one_scrolls_and_show_nothing_of_zones_before(
    desk: Desk, plant: ServerProcess
) -> None:
    page = await desk.logged_in(plant.url, "operator")
    await expect(page.get_by_role("table")).to_be_visible()
    for share in (0.05, 0.5, 1, 0.7, 0):
        await page.evaluate(
            "(share) => scrollTo(0, share * document.documentElement.scrollHeight)", share
        )
        await page.wait_for_function(ROWS_ARE_IN_SIGHT)
        await page.wait_for_function(LINES_ARE_DRAWN)

    rows = await page.evaluate(ROWS)
    assert {row[0] for row in rows} >= FAULTY
    assert [row for row in rows if len(set(row)) > 1] == []


async def test_the_focus_never_goes_from_a_zones_form_to_another_zone(
    desk: Desk, plant: ServerProcess
) -> None:
    page = await desk.logged_in(plant.url, "operator")
    first = page.locator("#zone-rows .zone").first
    device = await first.get_attribute("data-device")
    await first.get_by_role("button").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    for share in (1, 0.5, 1, 0.5):
        before = await page.locator("#zone-rows .zone").first.get_attribute("data-device")
        await page.evaluate(
            "(share) => scrollTo(0, share * document.documentElement.scrollHeight)", share
        )
        await expect(page.locator("#zone-rows .zone").first).not_to_have_attribute(
            "data-device", str(before)
        )

    await page.keyboard.press("Escape")

    await expect(page.get_by_role("dialog")).to_be_hidden()
    focused = "document.activeElement.closest('.zone')?.dataset.device"
    assert await page.evaluate(focused) in {None, device}


async def test_a_person_sees_and_writes_fahrenheit(desk: Desk, plant: ServerProcess) -> None:
    page = await desk.logged_in(plant.url, "operator")
    await page.keyboard.press("/")
    await page.keyboard.type("zone 555")
    row = page.locator(".zone").filter(has=page.get_by_text("zone 555", exact=True))
    await page.get_by_label("Temperatures").select_option("F")
    await expect(row.locator(".temperature")).to_have_text("71.8 °F")

    await row.get_by_role("button").click()
    await page.get_by_label("Setpoint in °F").fill("70.0")
    await page.get_by_role("button", name="Apply").click()

    await expect(row.locator(".setpoint")).to_have_text("70.0 °F")
    await page.get_by_role("button", name="Undo").click()
    await expect(row.locator(".setpoint")).to_have_text("73.4 °F")

    # Another tab chooses: a form never takes a number for the unit that it did not name.
    await row.get_by_role("button").click()
    await expect(page.get_by_label("Deadband in °F")).to_be_visible()
    tab = await page.context.new_page()
    await tab.goto(f"{plant.url}/alarms")
    await tab.get_by_label("Temperatures").select_option("C")
    await expect(page.get_by_label("Deadband in °F")).to_be_hidden()
    await row.get_by_role("button").click()
    await expect(page.get_by_label("Deadband in °C")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_rule_of_wcag_is_broken(desk: Desk, plant: ServerProcess, scheme: str) -> None:
    """WCAG 2.2, level AA, as far as axe can check it, with a thousand zones."""
    page = await desk.logged_in(plant.url, "operator", color_scheme=scheme)
    await expect(page.get_by_role("table")).to_be_visible()
    assert await violations(page) == []
    await page.get_by_label("By location").check()
    await page.get_by_role("button", name="Cards").click()
    await expect(page.locator("ul .zone").first).to_be_visible()
    assert await violations(page) == []
    await page.get_by_role("button", name="Change all zones").click()
    await page.get_by_label("Setpoint in °C").fill("hot")
    await page.get_by_role("button", name="Apply").click()
    assert await violations(page) == []
    await page.keyboard.press("Escape")
    await page.get_by_label("Search zones").fill("no such zone")
    await expect(page.get_by_role("button", name="Show all zones")).to_be_visible()
    assert await violations(page) == []


@pytest.mark.parametrize("workers", [True, False], ids=["worker", "leader"])
async def test_ten_tabs_share_one_stream_and_each_can_command(
    desk: Desk, own_server: ServerProcess, workers: bool
) -> None:
    await post_reading(own_server.url, "office", 215)
    password = own_server.password
    assert password is not None
    first = await desk.logged_in(own_server.url, "admin", password, workers=workers)
    tabs = [first]
    for _ in range(TABS - 1):
        tab = await first.context.new_page()
        await tab.goto(own_server.url)
        tabs.append(tab)
    for tab in tabs:
        await is_live(tab)
    assert await open_streams(own_server) == 1

    await tabs[-1].get_by_role("button", name="Change setpoint of office").click()
    await tabs[-1].get_by_label("Setpoint in °C").fill("19.5")
    await tabs[-1].get_by_role("button", name="Apply").click()
    for tab in tabs:
        await expect(card(tab, "office").locator(".setpoint")).to_have_text("19.5 °C")

    # The tab that leads goes; the others go on.
    await first.close()
    await post_reading(own_server.url, "office", 217)
    for tab in tabs[1:]:
        await expect(card(tab, "office").locator(".temperature")).to_have_text("21.7 °C")
        await is_live(tab)
    assert await open_streams(own_server) == 1


async def test_two_tabs_that_walk_between_pages_have_one_stream(
    remembering_browser: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    desk = Desk(remembering_browser)  # type: ignore[arg-type]  # a Browser
    try:
        server = desk.serve(tmp_path_factory.mktemp("walk"))
        assert server.password is not None
        one = await desk.logged_in(server.url, "admin", server.password)
        other = await one.context.new_page()
        await other.goto(server.url)
        for turn in range(WALKS):
            for tab in (one, other):
                await tab.goto(f"{server.url}/docs")
                if turn % 2:
                    await go_back(tab)
                else:
                    await tab.goto(server.url)
                await is_live(tab)
            await one_stream_is_open(server)
        # Pages that are only left stay in the back/forward cache, and Chromium may stop their
        # worker before it has closed the stream: then that ends with the cache, after 10 minutes.
        for tab in (one, other):
            await tab.close()
        await no_stream_is_open(server)
        assert desk.complaints == []
    finally:
        await desk.close()


async def test_the_keys_are_listed_and_typing_is_no_key(desk: Desk, plant: ServerProcess) -> None:
    page = await desk.logged_in(plant.url, "operator")
    await page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys")
    await expect(keys).to_contain_text("Search")
    await page.keyboard.press("Escape")
    await expect(keys).to_be_hidden()
    await page.get_by_label("Search zones").fill("")
    await page.keyboard.type("v?p")
    await expect(page.get_by_label("Search zones")).to_have_value("v?p")
    await expect(page.locator("#show-all")).to_be_visible()
    await expect(page).to_have_title(re.compile("Building automation$"))
