"""A post with a wrong key, with another device's, or without the required one is audited."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from server.auth.principal import Principal
from server.control.rules.posted_body import Posted
from server.routes.refusal_audit import ENTRIES_MAX, ENTRIES_S, OPEN_MAX
from server.routes.sender import Sender as From
from tests.support.http import ADDRESS, Caller, audited, logged_in, reading, served
from tests.support.paths import BATCH, PATHS, SINGLE, SINGLES, Sender
from tests.support.unreliable import Site, refused

LAB = '{"temp_tenths": 300, "sensor_ok": true, "device_id": "lab"}'


async def entries(container, tenant_id="default"):
    """All audit entries, after the pending ones are stored."""
    await container.posts._posts.close(5)
    return await audited(container, "DEVICE_REFUSED", tenant_id)


@pytest.fixture
def device(container):
    return Caller(container.app)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("device_key", "code"), [("wrong", "INVALID_DEVICE_KEY"), (None, "DEVICE_KEY_REQUIRED")]
)
async def test_a_wrong_and_a_missing_key_are_audited_with_address_and_device(
    container, port, path, device_key, code
):
    await container.base.admin.register_device("default", "lab")
    await Sender(container, port, path, device_key).post(LAB)
    (entry,) = await entries(container)
    assert (entry.success, entry.username) == (False, "")
    assert entry.address == ("127.0.0.1" if path == "socket" else ADDRESS)
    route = SINGLE if path in SINGLES else BATCH
    assert entry.details == {"code": code, "device_id": "lab", "path": route}


@pytest.mark.parametrize("path", PATHS)
async def test_a_key_of_another_device_is_audited_in_the_tenant_of_the_key(container, port, path):
    key = await container.base.admin.register_device("elsewhere", "roof")
    await Sender(container, port, path, key).post(LAB)
    (entry,) = await entries(container, "elsewhere")
    assert entry.details["code"] == "DEVICE_MISMATCH"
    assert (entry.details["device_id"], entry.details["key_of"]) == ("lab", "roof")
    assert await entries(container) == []


async def test_an_admin_can_read_an_audited_refusal(container, device):
    await device.post(SINGLE, reading(device_id="lab"), headers={"X-Device-Key": "wrong"})
    await entries(container)
    admin = await logged_in(container, "admin")
    listed = (await admin.get("/api/audit/recent")).json()
    assert [one["details"]["device_id"] for one in listed if one["action"] == "DEVICE_REFUSED"] == [
        "lab"
    ]


async def test_no_key_is_written_to_the_audit_log(container, device):
    await device.post(SINGLE, reading(device_id="lab"), headers={"X-Device-Key": "swordfish"})
    assert "swordfish" not in str(await entries(container))


async def test_a_post_with_another_error_than_its_key_is_not_audited(container, device):
    await device.post_text(SINGLE, '{"device_id": 7}')
    await device.post_text(BATCH, "{")
    await device.post(SINGLE, reading())
    assert await entries(container) == []


async def test_with_device_auth_required_only_a_missing_key_of_a_device_that_has_one_is_audited(
    config, clock
):
    async with served(config, clock, device_auth="required") as container:
        await container.base.admin.register_device("default", "lab")
        for name in ("new", "lab"):
            await Caller(container.app).post(SINGLE, reading(device_id=name))
        kept = await entries(container)
    assert [entry.details["device_id"] for entry in kept] == ["lab"]


async def test_the_same_refusal_of_the_same_address_is_audited_once_a_minute(
    container, device, clock
):
    wrong = {"X-Device-Key": "wrong"}
    for _ in range(5):
        await device.post(SINGLE, reading(device_id="lab"), headers=wrong)
        await device.post(BATCH, [reading(device_id="lab")], headers=wrong)
    assert len(await entries(container)) == 1
    await Caller(container.app, "192.0.2.99").post(SINGLE, reading(device_id="lab"), headers=wrong)
    await device.post(SINGLE, reading(device_id="attic"), headers=wrong)
    assert len(await entries(container)) == 3
    clock.advance(60)
    await device.post(SINGLE, reading(device_id="lab"), headers=wrong)
    assert len(await entries(container)) == 4


async def test_made_up_devices_and_addresses_fill_neither_disk_nor_memory(container, clock):
    for number in range(60):
        await Caller(container.app, f"192.0.2.{number % 3}").post(
            SINGLE, reading(device_id=f"made up {number}"), headers={"X-Device-Key": "wrong"}
        )
    assert len(await entries(container)) == ENTRIES_MAX
    clock.advance(ENTRIES_S)
    await Caller(container.app).post(SINGLE, reading(), headers={"X-Device-Key": "wrong"})
    assert len(await entries(container)) == ENTRIES_MAX + 1


@pytest.fixture
async def process(tmp_path, clock):
    async with AsyncExitStack() as resources:
        yield await Site(tmp_path / "bas.db", clock, resources).start()


async def wrong_keys(process, count):
    for number in range(count):
        body = Posted(temp_tenths=300, sensor_ok=True, device_id=f"device {number}")
        sender = From("wrong", address=f"192.0.2.{number}")
        assert (await refused(process.posts.one(sender, body))).code == "INVALID_DEVICE_KEY"


def lost(process):
    registry = process.metrics.registry
    return registry.get_sample_value("bas_store_failures_total", {"kind": "audit_lost"}) or 0


async def test_no_answer_waits_for_an_entry_and_few_entries_wait_for_a_store_that_hangs(process):
    process.store.gate = asyncio.Event()
    async with asyncio.timeout(60):
        await wrong_keys(process, OPEN_MAX)
        assert lost(process) == 0
        process.clock.advance(ENTRIES_S)
        await wrong_keys(process, 3)
    assert lost(process) == 3
    process.store.gate.set()
    await process.posts.close(5)
    assert len(await process.stores.audit.query_recent("default", 100)) == OPEN_MAX


async def test_entries_that_cannot_be_stored_change_no_answer_and_share_one_log_line(
    process, caplog
):
    process.lose("gone")
    for _ in range(3):
        await wrong_keys(process, 6)
        await process.posts.close(5)
        process.clock.advance(60)
    assert lost(process) == 18
    said = [one.getMessage() for one in caplog.records if "audit" in one.getMessage()]
    assert [line.split(":")[0] for line in said] == [
        "1 audit entries could not be stored and are lost",
        "6 audit entries could not be stored and are lost",
        "6 audit entries could not be stored and are lost",
    ]


async def test_an_entry_is_lost_if_the_store_cannot_say_whether_the_device_has_a_key(
    tmp_path, clock, caplog
):
    async with AsyncExitStack() as resources:
        process = await Site(tmp_path / "bas.db", clock, resources).start(mode="required")
        process.lose(reads=False)
        body = Posted(temp_tenths=300, sensor_ok=True, device_id="lab")
        assert (await refused(process.posts.one(From(), body))).code == "DEVICE_KEY_REQUIRED"
        await process.posts.close(5)
        assert lost(process) == 1
    assert "1 audit entries could not be stored and are lost" in caplog.text


async def test_a_refusal_with_an_operator_s_session_is_audited_in_that_operator_s_tenant(process):
    await process.new_key("elsewhere", "lab")
    sender = From(None, Principal("olga", "operator", "elsewhere"), address="192.0.2.1")
    body = Posted(temp_tenths=300, sensor_ok=True, device_id="lab")
    assert (await refused(process.posts.one(sender, body))).code == "DEVICE_KEY_REQUIRED"
    await process.posts.close(5)
    assert len(await process.stores.audit.query_recent("elsewhere", 100)) == 1
