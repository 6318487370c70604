"""/readyz finds out by doing: it writes and reads, looks at the disk, and hears its own event."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from dataclasses import replace

import pytest

from server.common.shared_check import GOOD_S
from server.services.firestore.routing import PROBES
from server.services.ports.documents import StoreUnavailable
from tests.support.history_stores import end_upkeep
from tests.support.http import Caller, served


async def test_a_ready_server_has_just_written_a_document_and_read_it_back(container, clock):
    anyone = Caller(container.app)
    assert (await anyone.get("/readyz")).json()["status"] == "ready"
    first = await container.base.client.get(PROBES, "store")
    clock.advance(GOOD_S)
    await anyone.get("/readyz")
    second = await container.base.client.get(PROBES, "store")
    assert first.fields["token"] != second.fields["token"]


async def test_a_thousand_questions_at_once_cost_one_write(container):
    anyone = Caller(container.app)
    await anyone.get("/readyz")
    before = await container.base.client.get(PROBES, "store")
    for _ in range(10):
        answers = await asyncio.gather(*(anyone.get("/readyz") for _ in range(100)))
        assert {answer.json()["status"] for answer in answers} == {"ready"}
    after = await container.base.client.get(PROBES, "store")
    assert before.version == after.version


async def test_a_store_that_loses_what_it_confirmed_is_not_ready(container, monkeypatch):
    """Writes go nowhere, as those into a deleted file or to a rolled-back disk do."""
    client, prove = container.base.stores.client, container.base.stores.prove
    await prove()

    async def lose(writes):
        return [""] * len(writes)

    monkeypatch.setattr(client, "write", lose)
    with pytest.raises(StoreUnavailable, match="read back"):
        await prove()


async def test_two_processes_that_prove_one_store_do_not_disturb_each_other(config, clock):
    async with served(config, clock) as one, served(config, clock) as other:
        for _ in range(20):
            await asyncio.gather(one.base.stores.prove(), other.base.stores.prove())


@pytest.mark.skipif("BAS_TEST_FIRESTORE" in os.environ, reason="the readings are not in a file")
@pytest.mark.parametrize("how", ["deleted", "moved away", "replaced"])
async def test_a_server_whose_database_file_is_not_the_open_one_is_not_ready(
    container, config, clock, how
):
    anyone = Caller(container.app)
    # A write of its first round would find the other file first, and the server then opens that.
    await end_upkeep(container)
    assert (await anyone.get("/readyz")).status == 200
    if how == "deleted":
        config.database.unlink()
    else:
        config.database.rename(config.database.with_suffix(".old"))
    if how == "replaced":
        sqlite3.connect(config.database).close()
        config.database.touch()
    clock.advance(GOOD_S)
    answer = await anyone.get("/readyz")
    assert (answer.status, answer.json()["checks"]["store"]) == (503, "STORE_UNAVAILABLE")
    assert "gone, or another one" in answer.json()["reasons"]["store"]
    assert (await anyone.get("/healthz")).status == 200


async def test_a_server_whose_disk_has_less_room_than_the_setting_is_degraded(config, clock):
    async with served(replace(config, disk_min_free_mb=10**9), clock) as container:
        answer = await Caller(container.app).get("/readyz")
    assert (answer.status, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["checks"]["disk"] == "DISK_LOW"
    assert "BAS_DISK_MIN_FREE_MB=1000000000" in answer.json()["reasons"]["disk"]


async def test_proving_a_log_in_memory_leaves_nothing_in_it(container):
    log = container.sse._log
    before = dict(log._histories), dict(log._followers)
    for _ in range(50):
        await container.sse.ping()
    assert (log._histories, log._followers) == before


async def test_a_log_that_does_not_send_events_back_degrades_the_server(container, monkeypatch):
    log = container.sse._log
    monkeypatch.setattr(type(log), "_append", lambda *_: None)
    answer = await Caller(container.app).get("/readyz")
    assert (answer.status, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["reasons"] == {"log": "an event that was appended did not come back"}
