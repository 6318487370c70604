"""The pages of administration in a real browser: what an admin does there, and who is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Route, expect

from tests.conftest import PASSWORD
from tests.e2e.desk import Desk, log_in, post_reading
from tests.e2e.looks import overflow, run_as_shown
from tools.process import ServerProcess, run_command

pytestmark = pytest.mark.asyncio(loop_scope="session")

NEW_PASSWORD = "nine blue kites over the bay"


@pytest.fixture(scope="module")
def admin_site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with an admin and a reader."""
    data_dir = tmp_path_factory.mktemp("admin-site")
    for name, role in (("boss", "admin"), ("guest", "read-only")):
        arguments = ("create-user", name, "--role", role, "--password-stdin")
        assert run_command(*arguments, data_dir=data_dir, stdin=PASSWORD).returncode == 0
    with ServerProcess(data_dir) as server:
        yield server.url
        server.terminate()


async def test_an_admin_makes_a_user_who_is_refused_on_the_admin_pages(
    desk: Desk, admin_site: str
) -> None:
    desk.expect_complaint(r"status of 400 .*/api/users$")
    desk.expect_complaint(r"status of 403 .*/admin/users$")
    page = await desk.window()
    await page.goto(f"{admin_site}/admin/users")
    await log_in(page, "boss")  # and is led back to the page
    await page.get_by_role("button", name="New user").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("User name").fill("dana")
    await dialog.get_by_label("Password").fill("short")
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("assword")
    await dialog.get_by_label("Password").fill(NEW_PASSWORD)
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog).to_have_count(0)
    await expect(page.locator("tbody tr").filter(has_text="dana")).to_contain_text("read-only")

    dana = await desk.logged_in(admin_site, "dana", NEW_PASSWORD)
    await expect(dana.get_by_role("link", name="Admin")).to_be_hidden()
    await dana.goto(f"{admin_site}/admin/users")
    await expect(dana.get_by_role("main")).to_contain_text("Your account may not open this page.")
    await dana.get_by_role("link", name="Go to the overview").click()
    await expect(dana).to_have_url(f"{admin_site}/")

    await page.get_by_role("button", name="Delete: dana").click()
    await page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("button", name="Delete: dana")).to_be_focused()
    await page.get_by_role("button", name="Delete: dana").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator("#admin-message")).to_have_text("Deleted: dana.")
    await expect(page.locator("tbody tr").filter(has_text="dana")).to_have_count(0)
    await expect(page.get_by_role("heading", name="Users")).to_be_focused()  # its button is gone

    await page.goto(f"{admin_site}/admin/audit")
    await page.get_by_label("User").fill("boss")
    await page.get_by_label("Action").fill("USER_DELETED")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("tbody tr")).to_have_count(1)
    await expect(page.locator("tbody tr")).to_contain_text("dana")


async def test_a_key_and_a_link_are_shown_once_with_a_code(desk: Desk, admin_site: str) -> None:
    page = await desk.logged_in(admin_site, "boss", viewport={"width": 360, "height": 740})
    await page.goto(f"{admin_site}/admin/devices")
    await page.get_by_role("button", name="Register a device").click()
    await page.get_by_label("Device id").fill("roof/1")
    await page.get_by_role("button", name="Make its key").click()
    dialog = page.get_by_role("dialog", name="Key of roof/1")
    key = await dialog.locator(".secret").first.inner_text()
    assert key.startswith("bas_")
    # The line for a shell works as it is shown.
    done = await run_as_shown(await dialog.locator(".line").inner_text())
    assert "cool_active" in done
    assert await dialog.locator("canvas").evaluate("(code) => code.width") > 20
    await dialog.get_by_role("button", name="I have kept it").click()
    await expect(page.locator("tbody tr")).to_contain_text("roof/1")
    assert key not in await page.content()

    await page.goto(f"{admin_site}/admin/tokens")
    await page.get_by_role("button", name="New token").click()
    await page.get_by_label("Name", exact=True).fill("hall")
    await page.get_by_label("For").select_option("display")
    await page.get_by_role("button", name="Create").click()
    link = await page.get_by_role("dialog").locator(".secret").inner_text()
    assert link.startswith(f"{admin_site}/auth/display#")
    await page.get_by_role("dialog").get_by_role("button", name="I have kept it").click()
    await page.get_by_role("button", name="Revoke: hall").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(page.locator("#admin-message")).to_have_text("hall is revoked.")
    assert await overflow(page) == 0


async def test_a_key_that_the_server_is_making_is_shown_although_the_dialog_was_closed(
    desk: Desk, admin_site: str
) -> None:
    page = await desk.logged_in(admin_site, "boss")
    await page.goto(f"{admin_site}/admin/devices")
    held: asyncio.Queue[Route] = asyncio.Queue()
    await page.route("**/api/devices/key", held.put)
    await page.get_by_role("button", name="Register a device").click()
    await page.get_by_label("Device id").fill("roof/2")
    await page.get_by_role("button", name="Make its key").click()
    request = await held.get()
    await expect(page.get_by_role("button", name="Cancel")).to_be_disabled()

    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await request.continue_()

    key = page.get_by_role("dialog", name="Key of roof/2").locator(".secret").first
    await expect(key).to_contain_text("bas_")


async def test_zones_are_named_and_the_system_says_what_is_open(
    desk: Desk, admin_site: str
) -> None:
    await post_reading(admin_site, "shed", 205)
    page = await desk.logged_in(admin_site, "boss")
    await page.goto(f"{admin_site}/admin/zones")
    await page.get_by_role("button", name="Rename: shed").click()
    await page.get_by_role("dialog").get_by_label("Name", exact=True).fill("Garden shed")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("link", name="Garden shed")).to_be_visible()

    # A new controller takes the place of the old one, which has no key.
    await page.get_by_role("button", name="Replace device: shed").click()
    await expect(page.get_by_role("dialog")).to_contain_text("keeps its name, location, setpoint")
    await page.get_by_role("dialog").get_by_role("button", name="Make its key").click()
    dialog = page.get_by_role("dialog", name="Key of shed")
    assert await dialog.locator("canvas").evaluate("(code) => code.width") > 20
    done = await run_as_shown(await dialog.locator(".line").inner_text())
    assert "cool_active" in done
    await dialog.get_by_role("button", name="I have kept it").click()
    await expect(page.locator("#admin-message")).to_have_text(
        "Garden shed waits for its new device."
    )
    await expect(page.get_by_role("row", name="Garden shed")).to_contain_text("yes")

    async with page.expect_file_chooser() as choosing:
        await page.get_by_role("button", name="Import CSV").click()
    csv = b"device_id,location,setpoint_c,deadband_c\nshed,South garden,21.5,\n"
    file = {"name": "zones.csv", "mimeType": "text/csv", "buffer": csv}
    await (await choosing.value).set_files(files=[file])  # type: ignore[list-item]
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("South garden")
    await expect(dialog).to_contain_text(re.compile("setpoint 23.0.°C → 21.5.°C"))
    await dialog.get_by_role("button", name="Change them").click()
    await expect(page.get_by_role("cell", name="South garden")).to_be_visible()
    await page.get_by_role("button", name="Delete: shed").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.locator("#admin-message")).to_contain_text("Garden shed is deleted.")

    await page.goto(f"{admin_site}/admin/system")
    await expect(page.locator("#admin-content")).to_contain_text("All is well.")
    await expect(page.locator("#admin-content")).to_contain_text("Nothing that this server")


async def test_a_page_that_cannot_load_says_so_and_tries_again(desk: Desk, admin_site: str) -> None:
    desk.expect_complaint(r"status of 503 .*/api/tokens$")
    page = await desk.logged_in(admin_site, "boss")
    await page.route("**/api/tokens", lambda route: route.fulfill(status=503, body="{}"), times=1)
    await page.goto(f"{admin_site}/admin/tokens")
    await expect(page.locator("#admin-message")).to_contain_text("This could not be loaded.")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator("#admin-message")).to_be_hidden()


async def test_the_audit_log_is_filtered_by_time_and_shown_whole_again(
    desk: Desk, admin_site: str
) -> None:
    page = await desk.logged_in(admin_site, "boss")
    await page.goto(f"{admin_site}/admin/audit")
    span = page.get_by_label("Time")
    await expect(span.locator("option:checked")).to_have_text("all time")
    for words in ("the last day", "all time"):
        await span.select_option(label=words)
        async with page.expect_response("**/api/audit?*") as answer:
            await page.get_by_role("button", name="Show").click()
        assert (await answer.value).status == 200
        await expect(span.locator("option:checked")).to_have_text(words)
        await expect(page.locator("tbody")).to_contain_text("logged in")
    # A text that the server would refuse cannot be entered: the filters would go with the list.
    await expect(page.get_by_label("User")).to_have_attribute("maxlength", "256")


async def test_a_token_is_valid_until_it_is_revoked_unless_an_admin_chooses_a_time(
    desk: Desk, admin_site: str
) -> None:
    page = await desk.logged_in(admin_site, "boss")
    await page.goto(f"{admin_site}/admin/tokens")
    await page.get_by_role("button", name="New token").click()
    await expect(page.get_by_label("Valid").locator("option:checked")).to_have_text(
        "until it is revoked"
    )
    await page.get_by_label("Name").fill("lasting")
    async with page.expect_request("**/api/tokens") as sent:
        await page.get_by_role("button", name="Create").click()
    assert "expires_in" not in (await sent.value).post_data_json


async def test_a_list_that_is_made_again_keeps_the_focus(desk: Desk, admin_site: str) -> None:
    await post_reading(admin_site, "cellar", 215)
    page = await desk.logged_in(admin_site, "boss")
    await page.goto(f"{admin_site}/admin/zones")
    await page.get_by_role("button", name="Rename: cellar").press("Enter")
    await page.get_by_role("textbox", name="Name").fill("Wine cellar")
    await page.keyboard.press("Enter")
    await expect(page.locator("#admin-message")).to_have_text("cellar is called Wine cellar.")
    await expect(page.get_by_role("button", name="Rename: cellar")).to_be_focused()

    await page.goto(f"{admin_site}/admin/audit")
    await page.get_by_label("User").fill("boss")
    async with page.expect_response("**/api/audit?*user=boss*"):
        await page.keyboard.press("Enter")
    await expect(page.get_by_label("User")).to_be_focused()
