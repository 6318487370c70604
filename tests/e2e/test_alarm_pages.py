"""The pages of alarms and of notice targets in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import PASSWORD
from tests.e2e.desk import Desk, is_live, log_in, post_reading
from tests.e2e.looks import overflow, violations
from tests.e2e.test_overview import nodes
from tests.e2e.written_stream import STREAM_OF_THE_TEST, send
from tests.e2e.zone_events import NOW
from tools.process import ServerProcess, run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")

MANY = 1000
ASKS = re.compile("^\N{BLACK UP-POINTING TRIANGLE} ")
CALM = re.compile("^[A-Za-z]")
ALARM_ICON = re.compile("icon_alarm")


@pytest.fixture(scope="module")
def alarm_site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with an admin, an operator and a reader."""
    data_dir = tmp_path_factory.mktemp("alarm-site")
    for name, role in (("boss", "admin"), ("operator", "operator"), ("guest", "read-only")):
        arguments = ("create-user", name, "--role", role, "--password-stdin")
        assert run_command(*arguments, data_dir=data_dir, stdin=PASSWORD).returncode == 0
    with ServerProcess(data_dir) as server:
        yield server.url
        server.terminate()


async def test_an_alarm_appears_by_itself_and_an_operator_acts_on_it(
    desk: Desk, alarm_site: str
) -> None:
    page = await desk.logged_in(alarm_site, "operator", color_scheme="dark")
    await page.goto(f"{alarm_site}/alarms")
    await expect(page.locator("#alarm-none")).to_contain_text("Nothing is wrong now.")
    await expect(page).to_have_title(CALM)
    assert await violations(page) == []
    guest = await desk.logged_in(alarm_site, "guest")

    await post_reading(alarm_site, "attic", 0, sensor_ok=False)

    row = page.locator(".alarm").filter(has_text="attic")
    await expect(row).to_contain_text("Sensor fault")
    for one in (page, guest):  # whatever page is open
        await expect(one.locator("#alarm-count")).to_have_text("1")
        await expect(one).to_have_title(ASKS)
        await expect(one.locator("link[rel=icon]")).to_have_attribute("href", ALARM_ICON)
    assert await violations(page) == []

    await row.get_by_role("button", name="Acknowledge").click()
    await expect(row).to_contain_text("acknowledged by operator")
    for one in (page, guest):
        await expect(one.locator("#alarm-count")).to_be_hidden()
        await expect(one.locator("link[rel=icon]")).not_to_have_attribute("href", ALARM_ICON)
    await expect(page).to_have_title(CALM)

    await row.get_by_role("button", name="Comment").click()
    await page.get_by_label("Remark").fill("<b>The cable</b> was loose.")
    await page.get_by_role("button", name="Add").click()
    await expect(row).to_contain_text("<b>The cable</b> was loose.")
    await row.get_by_role("button", name="Shelve").click()
    await page.get_by_label("For").select_option("3600")
    assert await violations(page) == []
    await page.get_by_role("dialog").get_by_role("button", name="Shelve").click()
    await expect(row).to_contain_text("shelved by operator until")
    await page.get_by_label("State").select_option("active")
    await expect(page.locator(".alarm")).to_have_count(0)
    await page.get_by_label("State").select_option("shelved")
    await row.get_by_role("button", name="End the shelf").click()
    await expect(page.locator(".alarm")).to_have_count(0)

    # A reader sees all of it, and can do nothing.
    await guest.goto(f"{alarm_site}/alarms")
    await expect(guest.locator(".alarm")).to_contain_text("acknowledged by operator")
    await expect(guest.get_by_role("button", name="Acknowledge")).to_have_count(0)
    await expect(guest.get_by_role("button", name="Shelve")).to_have_count(0)
    await guest.get_by_role("button", name="Comments (1)").click()
    await expect(guest.get_by_role("dialog")).to_contain_text("was loose.")
    await expect(guest.get_by_label("Remark")).to_have_count(0)


async def test_a_zone_s_page_has_its_open_alarm_and_leads_to_its_past_ones(
    desk: Desk, alarm_site: str
) -> None:
    desk.expect_complaint(r"status of 503 .*/api/alarms\?state=cleared")
    await post_reading(alarm_site, "cellar", 0, sensor_ok=False)
    page = await desk.logged_in(alarm_site, "operator", viewport={"width": 360, "height": 740})
    await page.goto(f"{alarm_site}/zone?device_id=cellar")
    await expect(page.locator("#alarm-list")).to_contain_text("Sensor fault: since")
    await expect(page.locator("#key-alarm")).to_be_visible()  # its beginning is marked
    assert await violations(page) == []
    await post_reading(alarm_site, "cellar", 215)
    await expect(page.locator("#alarms")).to_be_hidden()

    asks = re.compile(r"/api/alarms\?state=cleared")
    await page.route(asks, lambda route: route.fulfill(status=503, body="{}"), times=1)
    await page.get_by_role("link", name="Past alarms of this zone").click()
    await expect(page.locator("#alarm-message")).to_contain_text("could not be loaded")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator(".alarm")).to_have_count(1)
    await expect(page.locator(".alarm")).to_contain_text("over")
    assert await overflow(page) == 0
    await page.get_by_role("link", name="cellar").click()
    await expect(page.locator("#zone-name")).to_have_text("cellar")


def an_alarm(number: int, **more: Any) -> dict[str, Any]:
    names = "cleared reason zones temp_tenths limit_tenths acknowledged_by acknowledged shelved_by"
    nothing = dict.fromkeys([*names.split(), "shelved_until"])
    at = NOW - number * 1000
    own = {"id": f"a-{number}", "device_id": f"zone {number}", "kind": "silent"}
    state = {"severity": "critical", "state": "active", "since": at, "active": at, "changed": at}
    return nothing | own | state | {"comments": []} | more


async def test_of_a_thousand_alarms_only_those_in_sight_are_drawn(
    desk: Desk, alarm_site: str
) -> None:
    page = await desk.window()
    await page.add_init_script(STREAM_OF_THE_TEST)
    await page.goto(f"{alarm_site}/alarms")
    await log_in(page, "operator")
    await expect(page.locator("#who")).to_contain_text("operator")
    await send(page, "hello", {"resume": "fresh", "ts": NOW, "heartbeat_s": 20})
    many = [an_alarm(number) for number in range(MANY)]
    await send(page, "snapshot", {"zones": [], "alarms": many, "alarm_count": MANY})
    await is_live(page)

    await expect(page.locator("#alarm-summary")).to_have_text(f"{MANY} alarms")
    await expect(page.locator(".alarm").first).to_contain_text("zone 0")
    assert await nodes(page) < 1000
    assert await violations(page) == []
    await page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    await expect(page.get_by_role("link", name="zone 999")).to_be_visible()
    assert await nodes(page) < 1000
    await send(page, "alarm", an_alarm(999, state="cleared", changed=NOW, step="cleared"))
    await expect(page.get_by_role("link", name="zone 999")).to_have_count(0)
    await page.get_by_role("searchbox").fill("zone 77")
    await expect(page.locator("#alarm-summary")).to_have_text("19 alarms")


async def test_a_new_alarm_sounds_only_for_a_person_who_chose_that(
    desk: Desk, alarm_site: str
) -> None:
    page = await desk.window()
    await page.add_init_script(
        f"""{STREAM_OF_THE_TEST}
        window.sounds = 0;
        window.OscillatorNode = class extends OscillatorNode {{
          start(when) {{ window.sounds += 1; super.start(when); }}
        }};"""
    )
    await page.goto(alarm_site)
    await log_in(page, "operator")
    await expect(page.locator("#who")).to_contain_text("operator")
    await send(page, "hello", {"resume": "fresh", "ts": NOW, "heartbeat_s": 20})
    await send(page, "snapshot", {"zones": [], "alarms": [], "alarm_count": 0})
    await is_live(page)
    await send(page, "alarm", an_alarm(1, step="raised"))
    await expect(page).to_have_title(ASKS)
    assert await page.evaluate("sounds") == 0

    await page.get_by_label("Sound at a new alarm").check()
    await page.wait_for_function("sounds === 3")  # once, so that the person knows it
    await send(page, "alarm", an_alarm(2, step="raised"))
    await page.wait_for_function("sounds === 6")
    await send(page, "alarm", an_alarm(3, step="raised", severity="info"))
    await expect(page.locator("#alarm-count")).to_have_text("3")
    assert await page.evaluate("sounds") == 6


async def test_an_admin_makes_tests_changes_and_deletes_a_target(
    desk: Desk, alarm_site: str
) -> None:
    desk.expect_complaint(r"status of 400 .*/api/notice-targets$")
    page = await desk.logged_in(alarm_site, "boss")
    await page.goto(f"{alarm_site}/admin/notices")
    await expect(page.locator("#admin-content")).to_contain_text(
        "No notice of an alarm goes anywhere"
    )
    await page.get_by_role("button", name="New webhook").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Name", exact=True).fill("on call")
    await dialog.get_by_label("Address").fill("ftp://127.0.0.1/hook")
    await dialog.get_by_label("Key of the signature").fill("a very secret key")
    await dialog.get_by_label("When").select_option("6,7")
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("url")
    await dialog.get_by_label("Address").fill("https://127.0.0.1/hook")
    assert await violations(page) == []
    await dialog.get_by_role("button", name="Create").click()
    row = page.locator("tbody tr").filter(has_text="on call")
    await expect(row).to_contain_text("warning and worse, Sat, Sun 08:00\N{EN DASH}18:00")

    await page.get_by_role("button", name="Test: on call").click()
    await expect(row).to_contain_text("not delivered: 127.0.0.1 leads to a private address")
    await expect(page.get_by_role("button", name="Test: on call")).to_be_focused()
    assert await violations(page) == []

    await page.get_by_role("button", name="Change: on call").click()
    await expect(dialog.get_by_label("Key of the signature")).to_have_value("")
    await dialog.get_by_label("Alarms").select_option("critical")
    await dialog.get_by_label("State").select_option("off")
    await dialog.get_by_role("button", name="Save").click()
    await expect(row).to_contain_text("nothing: it is off")
    answer = await page.request.get(f"{alarm_site}/api/notice-targets")
    (target,) = (await answer.json())["data"]
    assert (target["secret_set"], target["severity"]) == (True, "critical")
    assert "a very secret key" not in await page.content() + await answer.text()

    await page.get_by_role("button", name="Delete: on call").click()
    await dialog.get_by_role("button", name="Delete").click()
    await expect(page.locator("#admin-content")).to_contain_text(
        "No notice of an alarm goes anywhere"
    )
