"""What one tenant does and has, no other one sees: every read, error and stream."""

from __future__ import annotations

import re

import pytest

from server.services.firestore.routing import COLLECTIONS
from server.services.ports.documents import PAGE_MAX, Query
from tests.component.security.access_table import ROWS
from tests.component.security.principals import (
    ADMIN,
    NOBODY,
    OPERATOR,
    READER,
    STRANGER,
    all_principals,
)
from tests.support.http import Caller, exchange, logged_in, reading
from tests.support.stream import USER_AGENT, StreamClient

SECRET = "their-device"
# The figures of the whole server, which change with its time and its disk.
OF_THE_SERVER = {"/metrics", "/api/system"}
READS = [row for row in ROWS if row.method == "GET" and row.path not in OF_THE_SERVER]
CHANGES = [
    row
    for row in ROWS
    if row.method == "POST" and not row.path.startswith("/auth/") and STRANGER not in row.refused
]
# Headers that differ from second to second, or from request to request.
CHANGING = {"date", "expires", "x-request-id"}
# `theirs` has a key.
NAMES = ("lab", "attic", SECRET, "theirs")


async def ask(container, headers, row, device_id=None):
    """The status, headers and body of this read; of a stream, the frames of its beginning."""
    query = row.query if device_id is None else f"device_id={device_id}"
    sent = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
    path = row.url or row.path
    answer = await exchange(container.app, path=path, query=query.encode(), headers=sent, frames=3)
    body = re.sub(rb"retry: \d+", b"", answer.body)  # differs for each client, on purpose
    kept = [(name, text) for name, text in answer.headers.items() if name.lower() not in CHANGING]
    return answer.status, sorted(kept), body


async def all_reads(container, principals):
    """The answers to every read of this tenant, whole and of each device. (Refused ones would add
    to the tenant's own audit log.)"""
    return {
        (str(row), who, device_id): await ask(container, principals[who], row, device_id)
        for row in READS
        for who in (NOBODY, READER, OPERATOR, ADMIN)
        for device_id in (None, *NAMES)
        if who not in row.refused
    }


async def documents_of(container, tenant_id):
    """The versions of this tenant's documents."""
    pages = {name: await container.base.client.query(Query(name), PAGE_MAX) for name in COLLECTIONS}
    return {
        (name, item.id): item.version
        for name, page in pages.items()
        for item in page.documents
        if item.fields.get("tenant_id") == tenant_id
    }


@pytest.mark.drill_on_firestore("as many requests as there are routes and callers")
async def test_nothing_that_another_tenant_does_changes_any_answer_to_this_one(container, clock):
    """ASVS 5.0.0 V8.4.1, V8.2.2: lists, figures, charts, exports, streams and errors."""
    principals = await all_principals(container, clock)
    await container.base.auth.key_uses.store()  # what a task of the server does two seconds later
    for task in container.base.tasks:  # one of them links audit entries some seconds later
        await task.stop()
    before = await all_reads(container, principals)
    documents = await documents_of(container, "default")
    stranger = Caller(container.app, headers=principals[STRANGER])
    for name in NAMES[:3]:
        for row in CHANGES:
            body = re.sub("lab|shed|new-@", name, row.body).replace("@", "321")
            assert (await stranger.post_text(row.path, body)).status in {200, 204}, str(row)
    assert (await stranger.log_in("stranger", "wrong password")).status == 401
    assert await documents_of(container, "default") == documents
    after = await all_reads(container, principals)
    assert [about for about in before if after[about] != before[about]] == []
    # The other tenant's own answers are others: there was something to see.
    theirs = [await ask(container, principals[STRANGER], row) for row in READS]
    assert sum(SECRET.encode() in body for _, _, body in theirs) >= 6


@pytest.mark.parametrize("who", [NOBODY, READER, ADMIN])
async def test_a_device_of_another_tenant_is_answered_exactly_as_one_that_nobody_has(
    container, clock, who
):
    """ASVS 5.0.0 V8.2.2, V16.5.1: not even the error says that it exists."""
    principals = await all_principals(container, clock)
    stranger = Caller(container.app, headers=principals[STRANGER])
    nobodys = "x" * len(SECRET)
    await stranger.post("/api/sensor_data", reading(321, device_id=SECRET))
    await stranger.post("/api/devices/register", {"device_id": SECRET})
    for row in READS:
        status, headers, body = await ask(container, principals[who], row, SECRET)
        expected = await ask(container, principals[who], row, nobodys)
        headers = [(name, text.replace(SECRET, nobodys)) for name, text in headers]
        renamed = body.replace(SECRET.encode(), nobodys.encode())
        assert (status, headers, renamed) == expected, str(row)


async def test_the_cursor_of_another_tenant_shows_nothing_of_it(container, clock):
    """ASVS 5.0.0 V8.2.2, V8.4.1."""
    stranger = await logged_in(container, "stranger")
    for temp_tenths in (321, 322):
        await stranger.post("/api/sensor_data", reading(temp_tenths, device_id=SECRET))
        clock.advance(1)
    page = (await stranger.get("/api/telemetry/paginated?limit=1")).json()
    assert page["last_doc_id"]
    reader = await logged_in(container, "reader")
    answer = await reader.get(f"/api/telemetry/paginated?start_after={page['last_doc_id']}")
    assert answer.status in {200, 400}
    assert SECRET.encode() not in answer.body
    assert answer.status == 400 or answer.json()["data"] == []


async def test_the_offset_of_another_tenant_s_stream_gives_a_reset_and_none_of_its_events(
    container, port
):
    """ASVS 5.0.0 V8.2.2, V8.4.1."""
    stranger, reader = [
        await logged_in(container, name, headers={"User-Agent": USER_AGENT})
        for name in ("stranger", "reader")
    ]
    async with await StreamClient.open(port, session=stranger.session) as theirs:
        await theirs.opening()
        await stranger.post("/api/sensor_data", reading(323, device_id=SECRET))
        (event,) = await theirs.live(1)
    assert event.json["device_id"] == SECRET
    async with await StreamClient.open(
        port, session=reader.session, last_event_id=event.id
    ) as ours:
        begun = await ours.opening()
        assert begun["hello"].json["resume"] == "reset"
        assert begun["snapshot"].json == {"zones": [], "alarms": [], "alarm_count": 0}
        await stranger.post("/api/sensor_data", reading(324, device_id=SECRET))
        await stranger.post("/api/set_setpoint", {"setpoint_tenths": 324})
        await Caller(container.app).post("/api/sensor_data", reading(250, device_id="ours"))
        (event,) = await ours.live(1)
        assert event.json["device_id"] == "ours"
