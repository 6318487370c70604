"""The sync faces of the audit log and of the live stream."""

from __future__ import annotations

import asyncio
import gc
import json
from datetime import UTC, datetime

import pytest

from server.auth.sessions import digest
from server.services.ports.event_log import InvalidEvent
from tests.support.http import audited, lose_store
from tests.support.stream import FrameSplitter, eventually

SESSION = "a-secret-session-id"


async def test_an_event_is_stored_with_the_keys_of_the_existing_server(container, clock, in_thread):
    audit = container.services.audit
    details = {"route": "/old", "when": datetime(2026, 1, 2, tzinfo=UTC)}
    assert await in_thread(
        audit.log_event, "EXPORT", "u1", "olga", "192.0.2.1", "old browser", details, "default"
    )
    (event,) = await in_thread(audit.query_events_by_type, "EXPORT")
    assert event.pop("utc_timestamp").endswith("Z")
    assert event == {
        "timestamp_ms": clock.now_ms(),
        "event_type": "EXPORT",
        "user_id": "olga",
        "username": "olga",
        "ip_address": "192.0.2.1",
        "user_agent": "old browser",
        "details": {"route": "/old", "when": "2026-01-02T00:00:00Z"},
        "tenant_id": "default",
    }


async def test_no_session_id_is_stored_as_plain_text(container, clock, in_thread):
    audit = container.services.audit
    await in_thread(audit.log_auth_success, "olga", "192.0.2.1", SESSION)
    clock.advance(1)
    await in_thread(audit.log_session_creation, "olga", SESSION, "192.0.2.1")
    clock.advance(1)
    await in_thread(audit.log_session_destruction, SESSION, "olga")
    clock.advance(1)
    nested = {"cookies": [{"bas_session_id": SESSION}]}
    await in_thread(audit.log_event, "ODD", username="olga", details=nested)
    events = await in_thread(audit.query_recent_events)
    names = ["ODD", "SESSION_DESTROYED", "SESSION_CREATED", "LOGIN_SUCCESS"]
    assert [event["event_type"] for event in events] == names
    assert SESSION not in json.dumps(events)
    assert json.dumps(events).count(digest(SESSION)[:12]) == 4


async def test_refusals_are_stored_as_such_in_the_tenant_s_own_log(container, in_thread):
    audit = container.services.audit
    await in_thread(audit.log_auth_failure, "olga", "192.0.2.1", "bad password")
    await in_thread(audit.log_permission_denied, "olga", resource="/api/x", tenant_id="plant")
    await in_thread(audit.log_tenant_violation, "olga", None, "192.0.2.1", "plant", "default")
    (failure,) = await audited(container, "LOGIN_FAILURE")
    assert (failure.success, failure.details) == (False, {"failure_reason": "bad password"})
    assert failure.username.startswith("unknown:")
    types = {one["event_type"] for one in await in_thread(audit.query_events_by_tenant, "plant")}
    assert types == {"PERMISSION_DENIED", "TENANT_VIOLATION"}


async def test_events_are_found_by_user_type_and_time_newest_first(container, clock, in_thread):
    audit = container.services.audit
    begin = clock.now_ms()
    for number in range(6):
        name, kind = ("olga", "igor")[number % 2], ("LOOK", "TOUCH")[number // 3]
        await in_thread(audit.log_event, kind, username=name, details={"n": number})
        clock.advance(1)

    def numbers(events: list[dict]) -> list[int]:
        return [event["details"]["n"] for event in events]

    assert numbers(await in_thread(audit.query_recent_events, 3)) == [5, 4, 3]
    assert numbers(await in_thread(audit.query_events_by_user, "olga")) == [4, 2, 0]
    assert numbers(await in_thread(audit.query_events_by_type, "TOUCH", 2)) == [5, 4]
    window = (begin + 1000, begin + 3000)
    assert numbers(await in_thread(audit.query_events_window, *window)) == [3, 2, 1]
    assert numbers(await in_thread(audit.query_events_window, *window, "LOOK")) == [2, 1]
    assert await in_thread(audit.query_events_by_user, "olga", tenant_id="plant") == []


@pytest.mark.parametrize("query", ["query_events_by_tenant", "query_recent_events"])
async def test_a_query_without_a_tenant_is_an_error(container, in_thread, query):
    audit = container.services.audit
    assert await in_thread(audit.log_event, "SEEN", tenant_id="elsewhere")
    with pytest.raises(TypeError, match="tenant_id"):
        await in_thread(getattr(audit, query), tenant_id=None)


async def test_without_the_store_the_audit_face_returns_false_and_an_empty_list(
    container, in_thread
):
    audit = container.services.audit
    await lose_store(container)
    assert await in_thread(audit.log_event, "EXPORT") is False
    assert await in_thread(audit.query_recent_events) == []


async def test_a_thread_s_stream_gets_events_of_other_threads_until_it_is_closed(
    container, in_thread
):
    sse = container.services.sse
    stream = await in_thread(sse.subscribe, "client-1")
    assert await in_thread(sse.subscriber_count) == 1
    assert await in_thread(sse.publish, {"temp": 7}, "reading") == 1
    assert await in_thread(sse.publish, "plain text") == 1
    assert await in_thread(sse.publish, 1, tenant_id="elsewhere") == 0
    frames, splitter = [], FrameSplitter()
    while len([frame for frame in frames if frame.data]) < 3:
        frames += splitter.feed(await in_thread(next, stream))
    events = [(frame.event, frame.data) for frame in frames if frame.data][1:]
    assert events == [("reading", '{"temp":7}'), ("message", "plain text")]
    stream.close()
    assert await in_thread(sse.subscriber_count) == 0
    assert await in_thread(lambda: list(stream)) == []
    assert await in_thread(sse.publish, {}) == 0


async def test_a_stream_that_is_garbage_collected_is_unsubscribed(container, in_thread):
    sse = container.services.sse
    await in_thread(sse.subscribe, "client-1")
    gc.collect()
    await eventually(lambda: container.sse.hub.subscriber_count() == 0, "nobody is subscribed")


async def test_a_stream_gets_only_events_of_its_devices(container, in_thread):
    sse = container.services.sse
    stream = await in_thread(sse.subscribe, "client-1", devices=["lab"])
    await in_thread(sse.publish, {"n": 1}, "telemetry", device_id="attic")
    await in_thread(sse.publish, {"n": 2}, "telemetry", device_id="lab")
    frames, splitter = [], FrameSplitter()
    while not frames or frames[-1].event != "telemetry":
        frames += splitter.feed(await in_thread(next, stream))
    assert frames[-1].json == {"n": 2}
    stream.close()


async def test_a_thread_s_stream_ends_when_the_server_drains(container, in_thread):
    stream = await in_thread(container.services.sse.subscribe, "client-1")
    first = await in_thread(next, stream)
    rest, _ = await asyncio.gather(in_thread(b"".join, stream), container.sse.hub.drain(5.0))
    assert b"event: hello" in first
    assert b"event: bye" in rest
    assert container.sse.hub.subscriber_count() == 0


async def test_an_event_that_no_client_could_read_is_an_error(container, in_thread):
    sse = container.services.sse
    with pytest.raises(InvalidEvent):
        await in_thread(sse.publish, {}, "two\nlines")
    with pytest.raises(TypeError):
        await in_thread(sse.publish, object())


async def test_attaching_redis_says_once_that_the_settings_do_it(container, in_thread, caplog):
    sse = container.services.sse
    assert await in_thread(sse.attach_redis, object()) is False
    assert await in_thread(sse.attach_redis) is False
    assert [record.getMessage() for record in caplog.records if "attach_redis" in record.msg] == [
        "sse.attach_redis is not needed and does nothing: set REDIS_URL instead"
    ]
