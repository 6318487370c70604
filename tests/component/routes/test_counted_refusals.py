"""Equal refusals share one audit entry a minute, so that nobody can fill the disk with them.

OWASP ASVS 5.0, V2.4.1: controls protect against excessive calls that create garbage data or overuse
costly resources.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from server.services.firestore.refusal_counts import (
    ADDRESSES_MAX,
    OF_USER_MAX,
    RefusalKind,
)
from tests.support.http import ADDRESS, audited, logged_in, served
from tests.support.unreliable import Site

ACTION = "ACCESS_DENIED"
KIND = RefusalKind(ACTION, "default", "reader", "PERMISSION_DENIED", "POST", "/api/set_setpoint")


def counts(container):
    return container.base.stores.audit.refusals


async def entries(container):
    return await audited(container, ACTION)


async def test_the_first_refusal_is_stored_at_once_and_the_others_with_their_count(
    container, clock
):
    reader = await logged_in(container, "reader")
    for number in range(5):
        clock.advance(1)
        reader.address = f"192.0.2.{number}"
        assert (await reader.post("/api/set_setpoint", {})).status == 403
    (first,) = await entries(container)
    assert (first.username, first.address, "count" in first.details) == (
        "reader",
        "192.0.2.0",
        False,
    )
    assert await counts(container).flush() == 0
    rest = (await entries(container))[0]
    assert (rest.username, rest.success) == ("reader", False)
    assert rest.details == {
        "code": "PERMISSION_DENIED",
        "method": "POST",
        "path": "/api/set_setpoint",
        "count": 4,
        "since_ms": clock.now_ms() - 3000,
        "until_ms": clock.now_ms(),
        "addresses": [f"192.0.2.{number}" for number in range(1, 5)],
    }


async def test_another_refusal_of_the_same_user_has_an_entry_of_its_own_at_once(container):
    reader = await logged_in(container, "reader")
    await reader.post("/api/set_setpoint", {})
    await reader.post("/api/devices/register", {"device_id": "lab"})
    await (await logged_in(container, "operator")).get("/api/audit")
    assert [one.details["path"] for one in await entries(container)].count("/api/audit") == 1
    assert len(await entries(container)) == 3


async def test_a_refusal_after_a_quiet_minute_is_a_first_one_again(container):
    reader = await logged_in(container, "reader")
    for _ in range(2):
        for _ in range(2):
            await reader.post("/api/set_setpoint", {})
        await counts(container).flush()
        await counts(container).flush()
    assert [one.details.get("count") for one in await entries(container)].count(None) == 2
    assert len(await entries(container)) == 4


async def test_a_million_refusals_cost_two_entries_a_minute(container):
    refused = counts(container).refused
    for _ in range(1_000_000):
        await refused(KIND, ADDRESS)
    await counts(container).flush()
    stored = await entries(container)
    assert sorted(one.details.get("count", 1) for one in stored) == [1, 999_999]


async def test_made_up_paths_and_addresses_fill_neither_disk_nor_memory(container):
    for number in range(3000):
        kind = KIND._replace(path=f"/api/{number}")
        await counts(container).refused(kind, f"192.0.2.{number}")
    assert len(await entries(container)) == OF_USER_MAX
    assert len(counts(container)._counts) == OF_USER_MAX + 1
    await counts(container).flush()
    (rest,) = [one for one in await entries(container) if "count" in one.details]
    assert rest.details["count"] == 3000 - OF_USER_MAX
    assert len(rest.details["addresses"]) == ADDRESSES_MAX


async def test_counts_are_stored_when_the_server_stops(config, clock):
    async with served(config, clock) as container:
        reader = await logged_in(container, "reader")
        for _ in range(3):
            await reader.post("/api/set_setpoint", {})
    async with served(config, clock) as container:
        assert sorted(one.details.get("count", 1) for one in await entries(container)) == [1, 2]


@pytest.fixture
async def process(tmp_path, clock):
    async with AsyncExitStack() as resources:
        yield await Site(tmp_path / "bas.db", clock, resources).start()


async def test_refusals_during_an_outage_are_stored_with_their_count_after_it(process, caplog):
    refusals = process.stores.audit.refusals
    process.lose("gone")
    for _ in range(3):
        await refusals.refused(KIND, ADDRESS)
    assert await refusals.flush() == 1
    await refusals.refused(KIND, "192.0.2.99")
    assert "refusals are not in the audit log yet" in caplog.text
    process.store.how = "works"
    assert await refusals.flush() == 0
    (entry,) = await process.stores.audit.query_recent("default", 10)
    assert entry.details["count"] == 4
    assert entry.details["addresses"] == [ADDRESS, "192.0.2.99"]


async def test_counts_that_cannot_be_stored_at_the_end_are_lost_and_logged(process, caplog):
    refusals = process.stores.audit.refusals
    process.lose("gone")
    await refusals.refused(KIND, ADDRESS)
    await refusals.stop()
    assert "1 audit entries could not be stored and are lost" in caplog.text
