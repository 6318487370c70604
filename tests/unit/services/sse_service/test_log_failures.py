"""A log that does not answer: streams are refused or end, and later continue without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from server.services.ports.event_log import LogUnavailable
from server.services.sse_service.subscription import Subscription
from tests.unit.services.sse_service.conftest import (
    HERE,
    WAIT_S,
    Rig,
    frames_of,
    handed,
    next_piece,
    numbers,
)
from tests.unit.services.sse_service.logs import RefusingLog

MakeRig = Callable[..., Awaitable[Rig]]


async def test_no_stream_opens_on_a_log_that_cannot_be_followed(make_rig: MakeRig) -> None:
    log = RefusingLog()
    rig = await make_rig(log)
    log.refuse = {"follow"}
    with pytest.raises(LogUnavailable):
        await rig.subscribe(HERE)
    await rig.publish(400)
    assert rig.hub.subscriber_count() == rig.figure("bas_streams_open") == 0
    log.refuse = set()
    reader = await rig.reader()
    await rig.publish(2)
    assert await reader.numbers(2) == [401, 402]


async def test_a_client_whose_offset_cannot_be_looked_up_gets_a_reset_and_then_new_events(
    make_rig: MakeRig,
) -> None:
    log = RefusingLog()
    rig = await make_rig(log)
    await rig.publish(3)
    last_event_id = str(await log.tip(HERE))
    await rig.publish(1)
    log.refuse = {"read_after"}
    reader = await rig.reader(last_event_id)
    assert (await reader.named("hello")).json["resume"] == "reset"
    await rig.publish(1)
    assert await reader.numbers(1) == [5]


async def test_a_replay_that_loses_the_log_ends_and_continues_after_a_reconnect(
    make_rig: MakeRig,
) -> None:
    log = RefusingLog()
    rig = await make_rig(log)
    await rig.publish(1)
    start = str(await log.tip(HERE))
    await rig.publish(1200)
    stream = await rig.subscribe(HERE, last_event_id=start)
    frames = frames_of(await next_piece(stream), await next_piece(stream))
    log.refuse = {"read_after"}
    assert [piece async for piece in stream] == []
    stream.close()
    assert rig.figure("bas_streams_closed_total", reason="log") == 1
    log.refuse = set()
    again = await rig.reader(frames[-1].id)
    await again.until(lambda: bool(again.live) and again.live[-1].json["n"] == 1201)
    assert numbers(frames) + numbers(again.frames) == list(range(2, 1202))


async def test_an_event_that_the_log_refuses_is_counted_and_raises_nothing(
    make_rig: MakeRig,
) -> None:
    log = RefusingLog()
    rig = await make_rig(log)
    reader = await rig.reader()
    log.refuse = {"append", "ping"}
    assert await rig.sse.publish(HERE, "telemetry", {"n": 0}) == 0
    with pytest.raises(LogUnavailable):
        await rig.sse.ping()
    log.refuse = set()
    await rig.sse.ping()
    await rig.publish(1)
    assert await reader.numbers(1) == [1]
    assert rig.figure("bas_publish_failures_total") == 1
    assert rig.figure("bas_events_published_total") == 1


async def test_a_response_whose_log_does_not_answer_ends_with_an_empty_body(
    make_rig: MakeRig,
) -> None:
    log = RefusingLog()
    rig = await make_rig(log)
    log.refuse = {"follow"}

    async def subscribe(kill: Callable[[], None]) -> Subscription:
        return await rig.subscribe(HERE, kill=kill)

    sent: list[dict[str, Any]] = []

    async def take(message: dict[str, Any]) -> None:
        sent.append(message)

    async with asyncio.timeout(WAIT_S):
        await handed(subscribe)({}, asyncio.Event().wait, take)
    assert [message.get("status", message.get("body")) for message in sent] == [200, b""]
    assert not sent[-1]["more_body"]
    assert rig.hub.subscriber_count() == rig.figure("bas_streams_open") == 0
